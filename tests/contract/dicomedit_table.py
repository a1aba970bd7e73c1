"""The table of the recorded cases of anonymisation scripts in ``docs/conformance.md``, made from the recordings.

``python tests/contract/dicomedit_table.py`` puts it there. A test holds the document to it, and those of both
implementations to every case that it counts: they are carried out without a miss, or a test fails.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dicomedit_kit import recorded, subject

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
BEGIN, END = "<!-- made from the cases: begin -->\n", "<!-- made from the cases: end -->\n"
ABOUT = {
    "arg": "arguments of functions", "assign": "assignments", "charset": "character sets", "cond": "conditions",
    "date": "dates and times", "delete": "deletions", "double": "two scripts, one after the other",
    "fact": "single facts of the page", "file": "the whole file",
    "four": "DicomEdit 4 alone", "func": "functions", "if": "if, elseif, else", "lex": "words and lines",
    "more": "what is left", "private": "private elements", "seq": "sequences", "stamp": "the stamp",
    "ternary": "one statement or another", "text": "texts and escapes", "uid": "UIDs", "values": "values of functions",
    "var": "variables", "version": "versions", "vr": "value representations", "wild": "wild cards",
}  # fmt: skip
ENDS = ("done", "rejected", "refused", "evaluation failed")


def rows() -> list[tuple[str, ...]]:
    """A row for each subject and engine: how many cases, how they end, in how many older releases differ."""
    found = []
    for name, engine in (("cases-6", "6.6"), ("cases-4", "4")):
        for about in sorted({subject(case) for case in recorded(name)}):
            cases = [case for case in recorded(name) if subject(case) == about]
            ends = Counter(case["outcome"] for case in cases)
            older = sum("differs_in" in case for case in cases)
            told = (about, ABOUT.get(about, ""), engine, len(cases), *(ends[end] for end in ENDS), older)
            found.append(tuple(str(part) for part in (*told, len(cases), len(cases))))
    sums = [str(sum(int(row[at]) for row in found)) for at in range(3, 11)]
    return [*found, ("all", "", "", *sums)]


def table() -> str:
    head = ("subject", "what", "engine", "cases", *ENDS, "older releases differ", "right: server", "right: client")
    lines = [head, tuple("---" for _ in head), *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
