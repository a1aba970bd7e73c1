"""What a server tells of itself and of how a project takes data: version, scripts, filters, codes, rights.

The part of a connection that asks for settings. What guards something is asked for patiently, and where the server
fails all the same that is told apart from what it leaves open.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import requests

from . import forms
from ._http import Http
from ._rows import cell, is_json, json_of, number, truth
from .errors import AddressError, NotDataError, NotFoundError, RefusedError, ServerError
from .values import Settings

_THREADS = 8
GUARD_PAUSES_S = (3.0, 7.0)  # between the tries of a question whose answer guards something
_ACTIONS = ("create", "edit", "delete")
USUAL_TYPE = "xnat:mrSessionData"  # of which settings tell the rights


class Told:
    """The part of a connection that asks for settings."""

    _http: Http
    _told: Callable
    _table: Callable
    _rows: Callable
    _version: str | None
    _asks_version: AbstractContextManager
    server: str
    user: str

    def version(self) -> str:
        """XNAT's version, "" where it does not tell. Asked once, whoever else asks meanwhile."""
        with self._asks_version:
            if self._version is None:
                found = self._told_in_time(forms.BUILD())
                version = json_of(found).get("version", "") if found is not None and is_json(found) else ""
                if not version:
                    found = self._told(forms.VERSION())
                    version = found.text.strip() if found is not None else ""
                self._version = str(version)
            return self._version

    def before(self, *version: int) -> bool:
        """Whether XNAT is older than a version: ``before(1, 7, 3)``. One that names none is of before 1.7."""
        told = self.version()
        if not told:
            return False
        found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", told)
        return tuple(int(one or 0) for one in found.groups()) < version if found else True

    def settings(self, project: str, *, gives: bool = False) -> Settings:
        """What decides how a project takes data; None where the server does not tell.

        What guards something is asked three times over ten seconds where the server fails (500); what it does not tell
        even then is named in ``failed``.

        Parameters
        ----------
        gives : bool
            Whether data is only taken from the project: what decides how it takes data is not asked then.

        Raises
        ------
        NotFoundError
            The project is not visible for this user.
        """
        failed: set[str] = set()
        self._http.first = forms.PROJECT(project=project)

        asks: dict[str, Callable] = {
            "version": self.version,
            "checksums": lambda: truth(self._told_in_time(forms.CHECKSUMS())),
            "can_read": lambda: self.can(project, "read", failed=failed),
        }
        takes: dict[str, Callable] = {
            **self._guards(project, failed),
            "create_subjects": lambda: truth(self._told_in_time(forms.CREATE_SUBJECTS(project=project))),
            "bulk_upload": lambda: truth(self._told_in_time(forms.BULK_UPLOAD(project=project))),
            **{f"can_{act}": lambda act=act: self.can(project, act, failed=failed) for act in _ACTIONS},
        }
        asks = asks if gives else takes | asks
        with ThreadPoolExecutor(_THREADS) as threads:
            there = threads.submit(self._in_time, forms.PROJECT(project=project))
            found = {name: threads.submit(ask) for name, ask in asks.items()}
        try:
            there.result()
        except NotFoundError:
            raise NotFoundError(f"{self.user} sees no project {project} at {self.server}.") from None
        told = {name: future.result() for name, future in found.items()}
        if told["can_read"] is False and self._lists_sessions(project):
            told |= {name: None for name in told if name.startswith("can_")}
        return _settings(told, failed)

    def guards(self, project: str) -> Settings:
        """What becomes of data that comes into the project: scripts, series import filters and codes, nothing else.

        They are asked as patiently as in ``settings``.
        """
        failed: set[str] = set()
        asks = self._guards(project, failed)
        with ThreadPoolExecutor(_THREADS) as threads:
            found = {name: threads.submit(ask) for name, ask in asks.items()}
        return _settings({name: future.result() for name, future in found.items()}, failed)

    def _guards(self, project: str, failed: set[str]) -> dict[str, Callable]:
        """What guards the data of a project, as questions; those of several requests first."""

        def guarded(what: str) -> Callable[[forms.Request], requests.Response | None]:
            return lambda request: self._asked(request, what, failed)

        return {
            "site": lambda: self._script(
                guarded("site script"), forms.SITE_SCRIPT_ON(), forms.SITE_SCRIPT(), forms.SITE_SCRIPT_CONFIG()
            ),
            "project": lambda: self._project_script(guarded("project script"), project),
            "filters": lambda: self._series_filters(guarded("series import filter"), project),
            "prearchive_code": lambda: number(guarded("prearchive code")(forms.PREARCHIVE_CODE(project=project))),
            "quarantine_code": lambda: number(guarded("quarantine code")(forms.QUARANTINE_CODE(project=project))),
        }

    def _lists_sessions(self, project: str) -> bool:
        """Whether sessions of the project are listed, though the list of rights leaves the project out.

        What access to all data gives is not in that list (XNAT source, ``DefaultGroupsAndPermissionsCache``, lines
        1866 to 1890), so it tells nothing of such a user.
        """
        try:
            return bool(self._table(forms.OWNED({"project": project})))
        except (NotFoundError, RefusedError, ServerError):
            return False

    def _asked(self, request: forms.Request, what: str, failed: set[str]) -> requests.Response | None:
        """The answer to a question that guards something; None where the server leaves it open, or fails for long.

        While anybody makes a project XNAT answers others with 500 for a moment (seen on live servers).
        """
        for pause in (*GUARD_PAUSES_S, None):
            try:
                return self._http.read(request, patient=False)
            except (NotFoundError, RefusedError):
                return None
            except ServerError as problem:
                if problem.status < 500 and not isinstance(problem, NotDataError):
                    return None
            if pause is not None:
                time.sleep(pause)
        failed.add(what)
        return None

    def _told_in_time(self, request: forms.Request) -> requests.Response | None:
        """The answer to a question that the server may leave open, or None; asked again where the server fails."""
        try:
            return self._in_time(request)
        except (NotFoundError, RefusedError, ServerError):
            return None

    def _in_time(self, request: forms.Request) -> requests.Response:
        """The answer to a read; a failure of the server is waited out as where a setting guards something."""
        for pause in GUARD_PAUSES_S:
            try:
                return self._http.read(request, patient=False)
            except ServerError as problem:
                if problem.status < 500 or isinstance(problem, AddressError):
                    raise
            time.sleep(pause)
        return self._http.read(request, patient=False)

    def can(
        self, project: str, action: str, xsi_type: str = USUAL_TYPE, *, failed: set[str] | None = None
    ) -> bool | None:
        """Whether this user may read, create, edit or delete such data; None where the server does not tell."""
        request = forms.RIGHTS({"permissions": action, "dataType": xsi_type})
        try:
            answer = self._http.read(request, patient=False)
        except RefusedError:
            return False  # the answer to a user without any project
        except (NotFoundError, ServerError):
            answer = self._asked(request, f"right to {action}", failed) if failed is not None else None
        try:
            rows = self._rows(answer, request) if answer is not None and answer.content else [{}]
        except NotDataError:
            return None
        if any("id" not in row for row in rows):
            return None
        return project in {row["id"] for row in rows}

    def _script(
        self, ask: Callable, switch: forms.Request | None, text: forms.Request | None, config: forms.Request
    ) -> tuple[bool | None, str | None]:
        """Whether a script is on, and its text if it is; by the older way alone where there is no switch."""
        on = truth(ask(switch)) if switch is not None else None
        if on is not None:
            answer = ask(text) if on else None
            return on, answer.text if answer is not None else None
        answer = ask(config)
        try:
            rows = self._rows(answer, config) if answer is not None and answer.content else None
        except NotDataError:
            rows = None
        if rows is None:
            return None, None
        if not rows:
            return False, None
        on = cell(rows[0], "status") != "disabled"
        return on, cell(rows[0], "contents") if on else None

    def _project_script(self, ask: Callable, project: str) -> tuple[bool | None, str | None]:
        """Whether the script of a project is on, and its text if it is.

        No release before 1.8 answers whether it is on (recorded: 404 from 1.6.4, 415 from 1.7.2, 500 from 1.7.6: F16).
        There the older way tells status and text, and what is 404 by that way is no script, if a second answer says so,
        too: the text is 204 (recorded from 1.7.2 and 1.7.6: F17, F18) or, where there is no such address, the user
        may read the project.
        """
        config = forms.PROJECT_SCRIPT_CONFIG(project=project)
        text = forms.PROJECT_SCRIPT(project=project)
        if not self.before(1, 8):
            return self._script(ask, forms.PROJECT_SCRIPT_ON(project=project), text, config)
        told = self._script(ask, None, None, config)
        if told != (None, None):
            return told
        if not self.before(1, 7):
            answer = ask(text)
            none = answer is not None and answer.status_code == 204
        else:
            none = self._is_absent(config) and self.can(project, "read") is True
        return (False, None) if none else (None, None)

    def _is_absent(self, request: forms.Request) -> bool:
        """Whether the answer is 404."""
        try:
            self._http.read(request, patient=False)
        except NotFoundError:
            return True
        except (RefusedError, ServerError):
            return False
        return False

    def _series_filters(self, ask: Callable, project: str) -> tuple[bool | None, tuple[str, ...]]:
        """Whether a series import filter is on, and the JSON of each that is (XNAT source, DicomFilterService).

        None where one of the two is not told and the other is not on.
        """
        found: list[str] = []
        names = forms.SITE_FILTER_NAMES
        answer = ask(forms.SITE_FILTERS())
        site = json_of(answer) if answer is not None and is_json(answer) else {}
        on = str(site.get(names[0], "")).lower() if isinstance(site, dict) else ""
        if on == "true":
            found.append(json.dumps({"mode": site.get(names[1], ""), "list": site.get(names[2], "")}))
        answer = ask(forms.PROJECT_FILTER(project=project))
        if answer is not None and answer.text.strip():
            found.append(answer.text)
        return (True if found else False if answer is not None and on else None), tuple(found)


def _settings(told: dict, failed: set[str]) -> Settings:
    """Settings from what was told, where a script is (on, text) and filters are (on, JSON of each)."""
    site_on, site_script = told.pop("site", (None, None))
    project_on, project_script = told.pop("project", (None, None))
    filter_on, filters = told.pop("filters", (None, ()))
    return Settings(
        **told,
        series_filter_on=filter_on,
        series_filters=filters,
        site_script_on=site_on,
        site_script=site_script,
        project_script_on=project_on,
        project_script=project_script,
        failed=tuple(sorted(failed)),
    )
