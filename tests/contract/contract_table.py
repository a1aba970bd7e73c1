"""The table of docs/conformance.md, made from the tests: ``python tests/contract/contract_table.py`` writes it anew."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "conformance.md"
BEGIN, END = "<!-- made from the tests: begin -->", "<!-- made from the tests: end -->"
NUMBERS = [*(f"{number:03}" for number in range(1, 143)), "094a", "117a", "121a"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One test of the contract: its number, what it says, where it was learned, and where it can be shown."""

    number: str
    says: str
    source: str
    file: str
    test: str
    since: str
    only_here: bool

    def row(self) -> str:
        number = re.sub("^0+", "", self.number)
        real = "no, it would change the site" if self.only_here else f"since {self.since}" if self.since else "yes"
        says = re.sub(r"\*", r"\\*", self.says)
        return f"| {number} | {says} | {self.source} | `{self.test}` | {real} |"


@cache
def items() -> list[Item]:
    """Every test of the contract that carries a number, by number."""
    found = []
    for path in sorted(HERE.glob("test_contract_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_item_"):
                continue
            text = " ".join((ast.get_docstring(node) or "").split())
            says, _, source = text.partition(" Source: ")
            calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
            named = {call.func.attr: call for call in calls if isinstance(call.func, ast.Attribute)}
            since = named["since"].args[0].value if "since" in named else ""
            found.append(
                Item(
                    number=re.match(r"test_item_(\d+[a-z]?)_", node.name)[1],
                    says=says,
                    source=source.rstrip("."),
                    file=path.name,
                    test=node.name,
                    since=since,
                    only_here=bool({"setting", "embedded_only"} & set(named)),
                )
            )
    return sorted(found, key=lambda item: item.number)


def table() -> str:
    """The rows, under the heading of each file's subject."""
    lines: list[str] = []
    for path in sorted({item.file for item in items()}, key=lambda name: min(_order(name))):
        title = ast.get_docstring(ast.parse((HERE / path).read_text(encoding="utf-8")))
        lines += [f"### {title.rstrip('.')}", f"In `tests/contract/{path}`.", ""]
        lines += ["| item | behaviour | source | test | on a real XNAT |", "| --- | --- | --- | --- | --- |"]
        lines += [item.row() for item in items() if item.file == path]
        lines.append("")
    return "\n".join(lines)


def _order(file: str) -> list[str]:
    return [item.number for item in items() if item.file == file]


def written(page: str) -> str:
    """The page with a fresh table."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
