"""A first look at a server: every read that a transfer will use is asked once, literally, and judged by its answer.

Called by ``xnbtransfer doctor`` and by the button on the Connect step of the guided transfer. It writes nothing. What
it tells holds no label, no name, no address and no secret: form numbers, statuses, keys and counts, so that it can be
attached to a report.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from . import forms, html
from ._rows import json_of
from .errors import (
    EmptyAnswerError,
    NotDataError,
    NotFoundError,
    RefusedError,
    ServerError,
    TransientError,
    XnbTransferError,
)
from .forms import Form, Request
from .xnat import Connection


@dataclass(frozen=True, kw_only=True)
class Check:
    """How one form of request was answered.

    Attributes
    ----------
    form, asks, request : str
        Number, purpose and address of the form; places of the address are names, not values.
    answer : str
        Status and kind in words; ``not asked`` where nothing was there to ask for.
    expected : bool or None
        Whether it was answered as expected; None where it was not asked.
    rows : int or None
        Rows of a list.
    keys : tuple of str
        Keys of the rows of a list.
    milliseconds : int
        How long the answer took.
    cost : str
        What another answer means for a transfer; "" where all is well.
    """

    form: str
    asks: str
    request: str
    answer: str
    expected: bool | None
    rows: int | None = None
    keys: tuple[str, ...] = ()
    milliseconds: int = 0
    cost: str = ""


_NO_PROJECT = "No project can be listed: nothing can be planned."
_SCRIPT = "An older address is asked; where that tells nothing, changes that the script makes cannot be explained."
_SUBJECTS_UNTOLD = "Whose subjects are is not listed: the subjects are listed once more with each list of sessions."
_COSTS: Mapping[Form, str] = {
    forms.WHO: "A login that is lost cannot be told from one that lives.",
    forms.BUILD: "The version is not known; what changed between versions is taken as in 1.8.",
    forms.CHECKSUMS: "Archived files are read back a second time.",
    forms.RERUNS: "Whether a move or a rename anonymises again is not known; the plan says so.",
    forms.SITE_FILTERS: "Which series the site drops is not known before the start.",
    forms.SITE_SCRIPT_ON: _SCRIPT,
    forms.SITE_SCRIPT: _SCRIPT,
    forms.PROJECT_SCRIPT_ON: _SCRIPT,
    forms.PROJECT_SCRIPT: _SCRIPT,
    forms.PROJECT_FILTER: "Which series the project drops is not known before the start.",
    forms.PREARCHIVE_CODE: "Whether the project archives by itself is not known: a plan into it is blocked.",
    forms.QUARANTINE_CODE: "Whether the project quarantines is not known: a plan into it is blocked.",
    forms.RIGHTS: "Missing rights show only when something is refused.",
    forms.PROJECTS: "Projects cannot be chosen from a list.",
    forms.PROJECT: _NO_PROJECT,
    forms.SUBJECTS: _NO_PROJECT,
    forms.SESSIONS: _NO_PROJECT,
    forms.NAMES: "Labels of sessions that are shared in are those of their owners.",
    forms.OWNED: "Which sessions are shared in is not known.",
    forms.SCANS: "Scans cannot be listed in bulk: columns are given up one by one, and the inventory says which.",
    forms.SCAN_FILES_OF: "Files cannot be listed: nothing can be proved.",
    forms.FILES_OF: "Resources of sessions cannot be listed: they are left behind.",
    forms.SCAN_LIST: "method=files cannot be used.",
    forms.SESSION_ITEM: "Sharing, moving and the end of a move cannot be done.",
    forms.SESSION_AT: "Whether a label is taken is not known.",
    forms.STUDIES: "Whether a study is there in another project is not known.",
    forms.HEADER: "A review of a sample reads the files themselves, which takes longer.",
    forms.SCAN_ZIP: "Scans cannot be read: nothing can be copied.",
    forms.SCAN_FILE: "Single files cannot be read: a review of a sample is not possible without header dumps.",
    forms.WAITING: "The prearchive cannot be seen: nothing can be sent to this project.",
    forms.WAITING_RESOURCES: "What a waiting row holds is not known: nothing can be sent to this project.",
    forms.WAITING_ROW: "A waiting row is looked for in the list of its project.",
}
_KEYS: Mapping[Form, frozenset[str]] = {
    forms.SUBJECTS: frozenset({"label", "project", "URI"}),
    forms.SESSIONS: frozenset({"label", "subject_label", "UID", "session_project", "URI", "xsiType"}),
    forms.NAMES: frozenset({"label", "project", "URI"}),
    forms.OWNED: frozenset({"URI"}),
    forms.SCANS: frozenset(one.lower() for one in forms.SCANS.columns if "/" in one) | {"URI"},
    forms.SCAN_LIST: frozenset({"ID", "xsiType", "UID"}),
    forms.SCAN_FILES_OF: frozenset({"Name", "Size", "URI", "collection"}),
    forms.FILES_OF: frozenset({"Name", "Size", "URI", "collection"}),
    forms.RIGHTS: frozenset({"id"}),
    forms.STUDIES: frozenset({"URI", "UID"}),
    forms.HEADER: frozenset({"tag1", "tag2", "vr", "value"}),
    forms.WAITING: frozenset({"url", "status", "tag", "name", "subject", "project"}),
    forms.WAITING_ROW: frozenset({"url", "status"}),
    forms.WAITING_RESOURCES: frozenset({"category", "cat_id", "label", "file_count", "file_size"}),
}
"""Keys that are relied on in each row of a list, compared without regard to case."""
_TEXTS: Mapping[Form, Callable[[str], bool]] = {
    forms.WHO: lambda text: "is logged in" in text,
    forms.BUILD: lambda text: '"version"' in text,
    **{
        form: lambda text: text.strip().strip('"').lower() in ("true", "false")
        for form in (forms.CHECKSUMS, forms.RERUNS, forms.SITE_SCRIPT_ON, forms.PROJECT_SCRIPT_ON)
    },
    **{form: lambda text: text.strip().isdigit() for form in (forms.PREARCHIVE_CODE, forms.QUARANTINE_CODE)},
}


def examine(connection: Connection, project: str = "") -> list[Check]:
    """Ask every read form that a transfer uses; without a project those of the site alone.

    Raises
    ------
    NotFoundError
        The project is not visible for this user.
    """
    looker = _Looker(connection, project)
    found = [*looker.site()]
    if project:
        if not connection.sees_project(project):
            raise NotFoundError(f"{connection.user} sees no project {project} at {connection.server}.")
        found += looker.project_forms()
    return found


def report(connection: Connection, checks: list[Check]) -> dict:
    """What a user attaches to a report: version, and each check; nothing that names a person, a project or a server."""
    return {
        "xnat_version": connection.version(),
        "as_expected": sum(check.expected is True for check in checks),
        "otherwise": sum(check.expected is False for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def table_of(checks: list[Check], version: str) -> html.Html:
    """The checks as a table, for a terminal and a notebook."""
    words = {True: "as expected", False: "otherwise", None: ""}
    rows = [
        {
            "form": check.form,
            "asks": check.asks,
            "answer": check.answer,
            "expected": words[check.expected],
            "cost": check.cost,
        }
        for check in checks
    ]
    wrong = sum(check.expected is False for check in checks)
    asked = sum(check.expected is not None for check in checks)
    caption = f"XNAT {version or 'of unknown version'}: {asked} forms asked, {wrong} answered otherwise"
    columns = ["form", "asks", "answer", "expected", "cost"]
    return html.table(pd.DataFrame(rows, columns=columns), caption, columns)


class _Looker:
    def __init__(self, connection: Connection, project: str) -> None:
        self.connection, self.project = connection, project

    def site(self) -> Iterator[Check]:
        for form in (forms.WHO, forms.BUILD, forms.CHECKSUMS, forms.RERUNS, forms.SITE_FILTERS, forms.SITE_SCRIPT_ON):
            yield self.ask(form())
        yield self.ask(forms.SITE_SCRIPT())
        yield self.ask(forms.PROJECTS())
        for action in ("read", "create", "edit", "delete"):
            yield self.ask(forms.RIGHTS({"permissions": action, "dataType": "xnat:mrSessionData"}))

    def project_forms(self) -> Iterator[Check]:
        here = {"project": self.project}
        for form in (
            forms.PROJECT,
            forms.PREARCHIVE_CODE,
            forms.QUARANTINE_CODE,
            forms.PROJECT_SCRIPT_ON,
            forms.PROJECT_SCRIPT,
            forms.PROJECT_FILTER,
            forms.CREATE_SUBJECTS,
            forms.BULK_UPLOAD,
            forms.SUBJECTS,
        ):
            yield self.ask(form(**here))
        yield self.ask(forms.SESSIONS({"columns": ",".join(forms.SESSION_COLUMNS)}, **here))
        yield self.ask(forms.SESSIONS(**here), needs=forms.SUBJECT_COLUMNS, cost=_SUBJECTS_UNTOLD)
        for form in (forms.NAMES, forms.SCANS):
            yield self.ask(form(**here))
        yield self.ask(forms.OWNED(here))
        yield from self.session_forms()
        yield self.ask(forms.WAITING(**here))
        yield from self.waiting_forms()

    def session_forms(self) -> Iterator[Check]:
        """The forms of one session, the first one that has files."""
        sessions = {row["session_id"]: row for row in self.tried(lambda: self.connection.sessions(self.project))}
        scans = self.tried(lambda: self.connection.scans(self.project))
        held = [row for row in scans if row["session_id"] in sessions and row["resource"] and row["files"] != 0]
        held.sort(key=lambda row: (row["resource"] != "DICOM", row["size_bytes"] or 0))
        if not held:
            for form in (forms.SCAN_LIST, forms.SCAN_FILES_OF, forms.FILES_OF, forms.HEADER, forms.SCAN_ZIP):
                yield _not_asked(form)
            return
        scan, session = held[0], sessions[held[0]["session_id"]]
        one = session["session_id"]
        yield self.ask(forms.SCAN_LIST(session=one))
        yield self.ask(forms.SESSION_ITEM(session=one))
        yield self.ask(forms.SESSION_AT(project=self.project, label=session["session"]))
        yield self.ask(forms.SCAN_FILES_OF(sessions=one))
        yield self.ask(forms.FILES_OF(sessions=one))
        if session["StudyInstanceUID"]:
            yield self.ask(forms.STUDIES({"UID": session["StudyInstanceUID"]}))
        source = f"/archive/projects/{self.project}/experiments/{one}/scans/{scan['scan']}"
        yield self.ask(forms.HEADER({"src": source}))
        files = [row for row in self.tried(lambda: self.connection.files([one])) if row["scan"] == scan["scan"]]
        yield self.stream(forms.SCAN_ZIP, lambda: self.connection.open_scan(one, scan["scan"], scan["resource"]))
        if files:
            where = (one, scan["scan"], files[0]["resource"], files[0]["path"])
            yield self.stream(forms.SCAN_FILE, lambda: self.connection.open_scan_file(*where))

    def waiting_forms(self) -> Iterator[Check]:
        rows = [row for row in self.tried(lambda: self.connection.prearchive(self.project)) if row["uri"]]
        built = [row for row in rows if row["status"] == "READY"]
        if not built:
            yield from map(_not_asked, (forms.WAITING_ROW, forms.WAITING_RESOURCES))
            return
        path = self.connection.address_of_row(built[0]["uri"])
        yield self.ask(forms.WAITING_ROW(row=path), empty_is_wrong=True)
        yield self.ask(forms.WAITING_RESOURCES(row=path))

    def tried(self, ask: Callable[[], list[dict]]) -> list[dict]:
        """Rows, none where they cannot be had: the check of the form itself says so."""
        try:
            return ask()
        except XnbTransferError:
            return []

    def ask(
        self, request: Request, *, empty_is_wrong: bool = False, needs: Collection[str] = (), cost: str = ""
    ) -> Check:
        """One request, judged; ``needs`` are keys that its rows need besides, ``cost`` what their lack means."""
        found = self.judged_answer(request, empty_is_wrong, needs)
        return dataclasses.replace(found, cost=cost) if cost and not found.expected else found

    def judged_answer(self, request: Request, empty_is_wrong: bool, needs: Collection[str]) -> Check:
        form, began = request.form, time.monotonic()
        try:
            answer = self.connection.answer(request)
        except XnbTransferError as problem:
            return self.judged(form, _words(problem), _usual(form, problem), began)
        told = f"{answer.status_code} {answer.headers.get('Content-Type', '').partition(';')[0]}".strip()
        rows = _rows(answer)
        if rows is None:
            right = answer.status_code == 204 or _TEXTS.get(form, lambda text: True)(answer.text)
            right = right and (form not in _KEYS or answer.status_code == 204)
            if form in _KEYS and not answer.content:
                told += ", nothing in it"
            return self.judged(form, told, right, began)
        keys = tuple(sorted(rows[0])) if rows else ()
        lacking = {*_KEYS.get(form, ()), *needs} if rows else set()
        right = {one.lower() for one in lacking} <= {one.lower() for one in keys} and (bool(rows) or not empty_is_wrong)
        return self.judged(form, told, right, began, len(rows), keys)

    def stream(self, form: Form, read: Callable) -> Check:
        began = time.monotonic()
        try:
            with read() as pieces:
                right = bool(next(iter(pieces), b""))
        except XnbTransferError as problem:
            return self.judged(form, _words(problem), False, began)
        return self.judged(form, "200", right, began)

    def judged(self, form: Form, told: str, right: bool, began: float, rows=None, keys: tuple[str, ...] = ()) -> Check:
        return Check(
            form=form.number,
            asks=form.asks,
            request=f"{form.method} {form.path}",
            answer=told,
            expected=right,
            rows=rows,
            keys=keys,
            milliseconds=round((time.monotonic() - began) * 1000),
            cost="" if right else _COSTS.get(form, "It is told as unknown in the plan."),
        )


def _not_asked(form: Form) -> Check:
    request = f"{form.method} {form.path}"
    return Check(form=form.number, asks=form.asks, request=request, answer="not asked: nothing is there", expected=None)


def _usual(form: Form, problem: XnbTransferError) -> bool:
    """Refusals that say what they say: a setting that nobody made, or that is for administrators."""
    if isinstance(problem, NotFoundError):
        return form in (forms.PROJECT_SCRIPT, forms.SITE_SCRIPT, forms.CREATE_SUBJECTS, forms.BULK_UPLOAD)
    return isinstance(problem, RefusedError) and form is forms.RERUNS


def _words(problem: XnbTransferError) -> str:
    """A failure as status and kind; the server's own words may hold labels."""
    kinds = {
        EmptyAnswerError: "200, nothing in it",
        NotDataError: "a web page in place of data",
        NotFoundError: "404",
        RefusedError: "403",
        TransientError: "no answer, or a passing failure",
    }
    status = problem.status if isinstance(problem, ServerError) and problem.status else 0
    return next(
        (word for kind, word in kinds.items() if isinstance(problem, kind)), str(status or type(problem).__name__)
    )


def _rows(answer) -> list[dict] | None:
    try:
        rows = json_of(answer)["ResultSet"]["Result"]
    except (ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) else None
