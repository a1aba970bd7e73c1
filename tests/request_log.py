"""What the embedded servers of a test session were asked, and the names that no rule of theirs read.

The lines are those of ``xnbtransfer.server.requestlog``: every server of this process and of its children, those of
notebooks and browsers included, adds a file to one folder. ``XNBTRANSFER_REQUEST_LOG=FOLDER python -m pytest`` keeps
them, each pytest-xdist worker in a folder of its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote

from xnbtransfer.forms import Form, form_of

FOLDER = "XNBTRANSFER_REQUEST_LOG"
OURS = re.compile(r"xnbtransfer|xnatpy")
"""How the client of this project calls itself; people of the tests are ``python-requests``, browsers ``Mozilla``."""


class Lines:
    """The requests since one looked last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, int] = {}

    def new(self) -> Iterator[dict]:
        for entry in os.scandir(self.folder):
            known = self._read.get(entry.name, 0)
            if not entry.name.endswith(".jsonl") or entry.stat().st_size <= known:
                continue
            with open(entry.path, "rb") as stream:
                stream.seek(known)
                piece = stream.read()
            whole = piece[: piece.rfind(b"\n") + 1]
            self._read[entry.name] = known + len(whole)
            yield from map(json.loads, whole.splitlines())


def not_read(line: dict) -> list[str]:
    """The names of a request of ours that no rule of the server read, and that its form does not list."""
    if not line["unread"] or not OURS.search(line["agent"]):
        return []
    return [name for name in line["unread"] if name not in permitted(line)]


def permitted(line: dict) -> set[str]:
    """The names that the registered form of a request lists as not read, each with its reason."""
    form = registered(line)
    return {name for name, _ in form.unread} if form else set()


def registered(line: dict) -> Form | None:
    """The form of a request in the client's register; None where it is none."""
    query = f"?{line['query']}" if line["query"] else ""
    return form_of(line["method"], quote(line["path"], safe="/,:@=+[]()") + query)


def unregistered(line: dict) -> str:
    """What to say of a request of ours that is of no registered form; "" where all is well."""
    led = line["path"].startswith("/app/") and line["agent"].startswith("xnatpy")  # the front page sent the login there
    if not OURS.search(line["agent"]) or led or registered(line):
        return ""
    names = sorted(dict(parse_qsl(line["query"], keep_blank_values=True)))
    return f"{line['method']} {line['path']} with {', '.join(names) or 'no query'}: no form of xnbtransfer.forms"


def sentence(line: dict, names: list[str]) -> str:
    """A request as a test's failure tells it."""
    return f"{line['method']} {line['path']}: the server did not read {', '.join(names)}"
