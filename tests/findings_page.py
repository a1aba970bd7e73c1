"""Write the rules in docs/findings.md anew:  python tests/findings_page.py"""

from __future__ import annotations

import re
from pathlib import Path

from xnbtransfer.findings import FAMILIES, RULES

PAGE = Path(__file__).parent.parent / "docs" / "findings.md"
_PLACE = re.compile(r"(<!-- rules: made by tests/findings_page.py -->\n).*(<!-- end -->)", re.DOTALL)


def rules() -> str:
    """Every rule, one by one, by family."""
    lines = []
    for letter, family in FAMILIES.items():
        lines += [f"## {letter}: {family}", ""]
        for code, rule in RULES.items():
            if code[0] == letter:
                lines += [f"### {code} {rule.title}", f"*{rule.severity}.* {rule.about}"]
                lines += [f"**What to do:** {rule.remedy}", ""] if rule.remedy else [""]
    return "\n".join(lines)


def written(text: str) -> str:
    """The page with its rules made anew."""
    found, count = _PLACE.subn(lambda match: match[1] + rules() + match[2], text)
    assert count == 1, "docs/findings.md has no place for the rules"
    return found


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
