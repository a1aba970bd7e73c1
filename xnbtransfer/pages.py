"""The notebook of a record, tidied, and its HTML copy: one file that needs no network and no JavaScript."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .outputs import write_whole

_WIDGETS = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json")
_LOGIN_IN_URL = re.compile(r"(://[^/@\s:\"']+:)[^/@\s\"']+@")
_COOKIE = re.compile(r"(JSESSIONID=)[0-9A-Za-z.]+")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; color: #1f2328;
  background: #fff; max-width: 1180px; margin: 0 auto; padding: 24px 32px 64px }}
h1 {{ font-size: 26px; margin: 8px 0 4px }}
h2 {{ font-size: 18px; margin: 30px 0 4px; border-bottom: 1px solid #d0d7de; padding-bottom: 4px }}
p {{ margin: 6px 0 }}
table {{ font-size: 13px; line-height: 1.4; font-variant-numeric: tabular-nums }}
td, th {{ overflow-wrap: break-word }}
header {{ color: #57606a; border-bottom: 2px solid #1f2328; padding-bottom: 8px; margin-bottom: 16px }}
header b {{ color: #1f2328 }}
pre {{ font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; background: #f6f8fa; padding: 8px 12px;
  margin: 8px 0; white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #d0d7de }}
code {{ font: 90% ui-monospace, "DejaVu Sans Mono", Consolas, monospace }}
.anchor-link, .prompt {{ display: none }}
.ansi-red-fg {{ color: #b3261e }}
img {{ max-width: 100%; height: auto }}
@media print {{ body {{ max-width: none; padding: 0 }} tr {{ break-inside: avoid }} h2 {{ break-after: avoid }}
  div[style] {{ overflow: visible !important }} td {{ white-space: normal !important; min-width: 0 !important }} }}
</style>
</head>
<body>
<header>{header}</header>
<main>
{body}
</main>
</body>
</html>
"""


def tidy_notebook(executed: str | Path, to: str | Path) -> Path:
    """Write a notebook without widget state, without paths of this machine and without logins in addresses."""
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("widgets", None)
    about = notebook.metadata.get("papermill", {})
    for name in ("input_path", "output_path"):
        if about.get(name):
            about[name] = Path(about[name]).name
    about.pop("environment_variables", None)
    kept = []
    for cell in notebook.cells:
        if "papermill-error-cell-tag" in cell.metadata.get("tags", []):
            continue
        for output in cell.get("outputs", []):
            for mime in _WIDGETS:
                output.get("data", {}).pop(mime, None)
        kept.append(cell)
    notebook.cells = kept
    text = nbformat.writes(_clean(notebook), version=4)
    return write_whole(to, text + "\n")


def write_page(notebook: str | Path, to: str | Path, title: str, header: Sequence[str] = ()) -> Path:
    """The HTML copy of a notebook: prose and outputs, no code, no script, nothing fetched.

    ``header`` holds the words that stand above it, the first of them in bold.
    """
    import nbformat
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
    )
    body, _ = exporter.from_notebook_node(nbformat.read(notebook, as_version=4))
    body = re.sub(r"<script\b.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    return write_whole(to, page(title, body, header))


def page(title: str, body: str, header: Sequence[str] = ()) -> str:
    """A document of its own around some HTML: no script, nothing fetched."""
    words = " · ".join(f"<b>{html.escape(w)}</b>" if w == header[0] else html.escape(w) for w in header)
    return _PAGE.format(title=html.escape(title), header=words, body=body)


def workspace_named_in(notebook: str | Path) -> dict[str, str]:
    """Which record a notebook belongs to, as its own output says: ``name`` and ``record_root``, or nothing."""
    for cell in json.loads(Path(notebook).read_text(encoding="utf-8")).get("cells", []):
        for output in cell.get("outputs", []):
            found = output.get("metadata", {}).get("xnbtransfer")
            if isinstance(found, dict) and "name" in found:
                return found
    return {}


def _clean(value: Any) -> Any:
    """Every text of a notebook without logins in addresses, session cookies and the folders of this machine."""
    if isinstance(value, str):
        value = _COOKIE.sub(r"\1***", _LOGIN_IN_URL.sub(r"\1***@", value))
        for folder, shown in ((str(Path.cwd()), "."), (os.path.expanduser("~"), "~")):
            if len(folder) > 1:
                value = re.sub(rf"{re.escape(folder)}(?=/)", shown, value)
        return value
    if isinstance(value, dict):
        for name in list(value):
            value[name] = _clean(value[name])
        return value
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return value
