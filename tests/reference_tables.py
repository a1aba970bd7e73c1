"""Write the generated tables of docs/reference.md anew:  python tests/reference_tables.py"""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path

from xnbtransfer import values
from xnbtransfer.conflicts import matrix_frame
from xnbtransfer.errors import ExitCode
from xnbtransfer.html import NEXT, WORDS
from xnbtransfer.method_options import METHODS, AuditOptions
from xnbtransfer.notebook import VerifyOptions
from xnbtransfer.options import TransferOptions

REFERENCE = Path(__file__).parent.parent / "docs" / "reference.md"
FRAMES = {
    "SESSION_COLUMNS": "Sessions of an inventory",
    "SCAN_COLUMNS": "Scans of an inventory",
    "RESOURCE_COLUMNS": "Resources of an inventory",
    "FILE_COLUMNS": "Files of an inventory",
    "PREARCHIVE_COLUMNS": "Prearchive of an inventory",
    "FINDING_COLUMNS": "Findings (`findings.csv`)",
    "MANIFEST_COLUMNS": "Files of a result (`files.csv`)",
    "OUTCOME_COLUMNS": "Sessions of a result (`sessions.csv`)",
}


def _kind(annotation: object) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{word}`" for word in typing.get_args(annotation))
    if typing.get_origin(annotation) in (tuple, list) or isinstance(annotation, types.GenericAlias):
        return "list of text"
    return {str: "text", bool: "yes or no", int: "whole number"}[annotation]  # type: ignore[index]


def options() -> str:
    """One row per parameter."""
    rows = ["| parameter | command line | type | default | meaning |", "|---|---|---|---|---|"]
    for name, field in TransferOptions.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            flag += f"`, `--no-{name.replace('_', '-')}"
        if field.is_required():
            default = "required"
        elif field.default in ("", ()):
            default = "none"
        else:
            default = f"`{field.default}`"
        rows.append(f"| `{name}` | `{flag}` | {_kind(field.annotation)} | {default} | {field.description} |")
    return "\n".join(rows)


def methods() -> str:
    """One row per parameter that only some of the other methods have."""
    rows = ["| parameter | of | type | default | meaning |", "|---|---|---|---|---|"]
    found: dict[tuple[str, str], list[str]] = {}
    for kind, options in {**METHODS, "verify": VerifyOptions, "audit": AuditOptions}.items():
        for name in options.offered:
            about = options.model_fields[name]
            if name not in TransferOptions.model_fields or about.description != (
                TransferOptions.model_fields[name].description
            ):
                default = "none" if about.default in ("", ()) else f"`{about.default}`"
                row = f"{_kind(about.annotation)} | {default} | {about.description}"
                found.setdefault((name, row), []).append(f"`{kind}`")
    rows += [f"| `{name}` | {', '.join(kinds)} | {row} |" for (name, row), kinds in found.items()]
    return "\n".join(rows)


def exit_codes() -> str:
    """One row per exit code."""
    rows = ["| code | result | what to do next |", "|---|---|---|"]
    rows += [f"| {int(code)} | {WORDS[code]} | {NEXT.get(code, 'Read the message.')} |" for code in ExitCode]
    return "\n".join(rows)


def frames() -> str:
    """The columns of every frame."""
    rows = ["| frame | columns |", "|---|---|"]
    for name, title in FRAMES.items():
        columns = getattr(values, name)
        marks = {str: "", int: " (number)", bool: " (yes or no)"}
        rows.append(f"| {title} | {', '.join(f'`{column}`{marks[kind]}' for column, kind in columns.items())} |")
    return "\n".join(rows)


def conflicts() -> str:
    """The conflict matrix."""
    rows = ["| code | what is met | what XNAT would do | by default | by rule | for a named session also |"]
    rows.append("|---|---|---|---|---|---|")
    for cells in matrix_frame().itertuples(index=False, name=None):
        code, *words = cells
        rows.append(f"| `{code}` | {' | '.join(words)} |")
    return "\n".join(rows)


TABLES = {"conflicts": conflicts, "options": options, "methods": methods, "exit codes": exit_codes, "frames": frames}


def written(text: str) -> str:
    """The reference with its generated tables made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name}: made by tests/reference_tables.py -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, make=make: found[1] + make() + "\n" + found[2], text)
        assert count == 1, f"docs/reference.md has no place for {name}"
    return text


if __name__ == "__main__":
    REFERENCE.write_text(written(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
