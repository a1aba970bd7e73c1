"""Which columns of scans a server serves: asked for all, then column by column, once for a connection.

XNAT refuses a whole list for one column that it lacks: 200 with nothing below a project, 500 elsewhere (recorded of
1.6.4 and 1.8.11, "W2 columns of scans"). So what is refused is found by halving, in at most three requests more, each
of which brings rows if it is served; what was given up is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from . import forms
from .errors import EmptyAnswerError, NotDataError, ServerError

WORDS = {
    forms.SCAN_FILES: "numbers of files",
    forms.SCAN_BYTES: "sizes of resources",
    forms.SCAN_MODALITY: "modalities of scans",
    forms.SCAN_FORMAT: "file formats",
    forms.SCAN_TYPE: "types of scans",
}
"""Columns that a server may lack, in the order of their worth, and what each tells."""
MORE_REQUESTS = 3  # at most, once for a connection


class ScanColumns:
    """The columns that are asked of a server, less those that it refuses. Thread-safe."""

    def __init__(self) -> None:
        self._wanted = tuple(WORDS)
        self._known = False
        self._lock = threading.Lock()

    @property
    def given_up(self) -> tuple[str, ...]:
        """What the server does not list, in words."""
        return tuple(word for column, word in WORDS.items() if column not in self._wanted)

    def ask(self, send: Callable[[Sequence[str], bool], list[dict]]) -> list[dict]:
        """Rows with all columns that are served.

        Parameters
        ----------
        send : callable
            Asks for these columns; raises ServerError where the list is refused. Its second argument says that nothing
            is left to try, so that a failure is worth to be asked for again.
        """
        if self._known:
            return send((*forms.SCAN_BASIS, *self._wanted), True)
        with self._lock:
            if self._known:
                return send((*forms.SCAN_BASIS, *self._wanted), True)
            found, rows = self._narrowed(send)
            self._wanted, self._known = found, True
            return rows

    def _narrowed(self, send: Callable) -> tuple[tuple[str, ...], list[dict]]:
        """The columns that are served, and the rows that came with them.

        A group that is refused is halved. What the served half says of the other is not asked as a whole again, and a
        column that it proves guilty is asked last: that finds out whether the failure was a passing one.
        """
        served: tuple[str, ...] = ()
        rows: list[dict] | None = None
        queue = [_Group(tuple(WORDS))]
        left = 1 + MORE_REQUESTS
        while queue and left > (0 if rows is not None else 1):
            group = queue.pop(0)
            if group.guilty and len(group.columns) > 1:
                queue[:0] = group.halves()
                continue
            if group.guilty and not all(one.guilty for one in queue):
                queue.append(group)
                continue
            left -= 1
            try:
                rows = send((*forms.SCAN_BASIS, *served, *group.columns), False)
            except ServerError as problem:
                if not refused(problem):
                    raise
                if len(group.columns) > 1:
                    queue[:0] = group.halves()
                continue
            served += group.columns
            if group.other is not None:
                group.other.guilty = True
        if rows is None:
            rows = send(forms.SCAN_BASIS, True)
        return tuple(column for column in WORDS if column in served), rows


class _Group:
    """Columns that are asked together; ``guilty`` where one of them is known to be refused."""

    def __init__(self, columns: tuple[str, ...], other: _Group | None = None) -> None:
        self.columns, self.other, self.guilty = columns, other, False

    def halves(self) -> list[_Group]:
        half = (len(self.columns) + 1) // 2
        second = _Group(self.columns[half:])
        return [_Group(self.columns[:half], second), second]


def refused(problem: ServerError) -> bool:
    """Whether a list was refused for what was asked, as far as its answer can tell."""
    if isinstance(problem, EmptyAnswerError):
        return True
    return problem.status in (400, 404, 500) and not isinstance(problem, NotDataError)
