"""The table of request forms in docs/conformance.md, with the recorded exchanges that stand behind each.

``python tests/forms_table.py`` writes it anew.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

from xnbtransfer.forms import FORMS, Form, form_of

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "conformance.md"
BEGIN, END = "<!-- made from the forms: begin -->", "<!-- made from the forms: end -->"
VERSIONS = ("1.8.11", "1.6.4")
_EARLIER = ("listings", "share-move")  # recorded of 1.6.4 before; told of forms that nothing else was recorded of


@cache
def recorded() -> dict[str, dict[Form, Counter]]:
    """Of each version the forms that were asked of it live, and how often in which file."""
    found: dict[str, dict[Form, Counter]] = {}
    for version in VERSIONS:
        of = found.setdefault(version, {})
        with zipfile.ZipFile(HERE / "contract" / "recorded" / f"xnat-{version}.zip") as kept:
            for name in sorted(kept.namelist()):
                if not name.endswith(".json"):
                    continue
                for exchange in json.loads(kept.read(name)):
                    request = exchange.get("request") or {}
                    form = form_of(request.get("method", ""), request.get("path", ""))
                    if form is not None:
                        of.setdefault(form, Counter())[Path(name).stem] += 1
    earlier: dict[Form, Counter] = {}
    for name in _EARLIER:
        for row in json.loads((HERE / "contract" / "recorded" / f"{name}.json").read_text(encoding="utf-8")):
            if (form := form_of(row["method"], row["path"])) is not None:
                earlier.setdefault(form, Counter())[name] += 1
    known = {form for forms in found.values() for form in forms}
    found["1.6.4"] |= {form: told for form, told in earlier.items() if form not in known}
    return found


def evidence(form: Form) -> str:
    """What was recorded of a form: version, file, how many exchanges."""
    told = []
    for version, forms in recorded().items():
        if form in forms:
            told.append(f"{version} " + ", ".join(f"{name} {count}" for name, count in forms[form].items()))
    return "; ".join(told)


def table() -> str:
    lines = ["| form | asks | request | relies on | recorded live | in XNAT's source or tests |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for form in FORMS:
        query = "&".join(one for one in form.query if not one.startswith("event_"))
        query += "&event_\\*?" if any(one.startswith("event_") for one in form.query) else ""
        address = form.path + (f"?{query}" if query else "")
        body = f"; body: {form.body}" if form.body else ""
        cells = [form.number, form.asks, f"`{form.method} {address}`{body}", form.relies, evidence(form), form.source]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with a fresh table."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
