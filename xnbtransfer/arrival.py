"""What of a session has arrived in its prearchive row, and whether that can be built on.

Called by the import door and by the proof. It must never ask for a row to be built while something of it is on its
way: a scan that arrives meanwhile is lost, with 200 everywhere (recorded from live 1.7.2 to 1.8.11).
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from .errors import NotFoundError, RefusedError, ServerError, TransientError, XnbTransferError
from .once import send_and_look
from .streams import see, whole
from .stuck import busy_since, is_busy
from .verify import read_back
from .xnat import Connection
from .zips import Limits

BUSY_WAIT_S = 60.0  # how long a row that is locked is waited for before it is told
_SINGLE = 8  # so many doubtful files are read one by one, more with the whole row


@dataclasses.dataclass(frozen=True)
class Lying:
    """A file of a row, as the server lists it."""

    scan: str
    resource: str
    path: str
    size_bytes: int


Held = Mapping[str, Sequence[Lying]]  # by the last part of its path


class Quiet:
    """Who sends into a row, and who has it built: many of the first at a time, or one of the second."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._flying = 0
        self._looking = False

    @contextlib.contextmanager
    def flight(self) -> Iterator[None]:
        """An upload on its way."""
        with self._free:
            self._free.wait_for(lambda: not self._looking)
            self._flying += 1
        try:
            yield
        finally:
            with self._free:
                self._flying -= 1
                self._free.notify_all()

    @contextlib.contextmanager
    def look(self) -> Iterator[None]:
        """Nothing is on its way, and nothing is sent meanwhile."""
        with self._free:
            self._free.wait_for(lambda: not self._looking)
            self._looking = True
            self._free.wait_for(lambda: not self._flying)
        try:
            yield
        finally:
            with self._free:
                self._looking = False
                self._free.notify_all()


def held(connection: Connection, uri: str) -> dict[str, list[Lying]]:
    """The files of a row by name. One that is RECEIVING lists none until it is built: build it first."""
    found: dict[str, list[Lying]] = {}
    for row in connection.prearchive_resources(uri):
        for one in connection.prearchive_files(uri, row["scan"], row["resource"]):
            lying = Lying(row["scan"], row["resource"], one["path"], one["size_bytes"])
            found.setdefault(name_of(one["path"]), []).append(lying)
    return found


def held_now(connection: Connection, uri: str) -> dict[str, list[Lying]]:
    """The same of a row that may not be built yet; nothing of it may be on its way."""
    found: dict[str, list[Lying]] = {}
    with contextlib.suppress(ServerError, NotFoundError):
        found = held(connection, uri)
    if not found:
        build(connection, uri)
        found = held(connection, uri)
    return found


def build(connection: Connection, uri: str) -> None:
    """Have a row built, and see that it was.

    Raises
    ------
    RefusedError
        If XNAT has locked it. A build that died leaves it so for good: rebuilding and deleting are answered with 200
        then, and do nothing (seen on live servers).
    """

    def look(problem: XnbTransferError | None) -> bool | None:
        if problem is None:
            return True
        row = idle_row(connection, uri)
        if row is None:
            raise problem
        return True if row["status"] == "READY" else None

    send_and_look(lambda: connection.build(uri), look, "The building of a prearchive row")


def idle_row(connection: Connection, uri: str, wait_s: float = BUSY_WAIT_S) -> dict | None:
    """The row once XNAT is no longer at it; None where it is gone.

    Raises
    ------
    RefusedError
        If it does not become free.
    """
    until = time.monotonic() + wait_s
    pause = 0.1
    while (row := connection.prearchive_row(uri)) is not None and is_busy(row["status"]):
        since = busy_since(row["changed"])
        if time.monotonic() > until or since.stuck:
            raise RefusedError(
                f"The prearchive row {uri} is locked: the server has it in {row['status']} {since.words}.",
                "Neither rebuilding nor deleting it helps while it is so; ask the administrator of the server to reset "
                "or remove that row, then run again.",
            )
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
    return row


def doubtful(sent: Iterable[Mapping], there: Held) -> list[str]:
    """The names of files that may have arrived in part, by what their sizes say.

    The importer writes each header again, so sizes differ from those that were sent; but by the same few bytes for the
    files of one scan. A name that differs otherwise, or is there twice, is to be read.
    """
    sizes = {one["name"]: one["size_bytes"] for one in sent if one["name"]}
    more = {name: there[name][0].size_bytes - size for name, size in sizes.items() if name in there}
    usual = Counter(more.values()).most_common(1)
    home = usual[0][0] if usual and usual[0][1] > 1 else 0
    return sorted(name for name, change in more.items() if change != home or len(there[name]) > 1)


def spoilt(connection: Connection, uri: str, sent: Sequence[Mapping], there: Held) -> list[str]:
    """The names of files of ``sent`` that lie in the row in part, or twice; ``sent`` are records of the journal."""
    doubts = doubtful(sent, there)
    if not doubts:
        return []
    twice = [name for name in doubts if len(there[name]) > 1]
    bulk = {one["name"]: one["bulk"] for one in sent}
    if len(doubts) > _SINGLE:
        with connection.open_prearchive(uri) as chunks:
            seen = {name_of(one.path): one for one in read_back(chunks, key=b"", limits=_limits(there))}
    else:
        seen = {name: _read(connection, uri, there[name][0]) for name in doubts}
    broken = [name for name in doubts if not _is_whole(seen.get(name), bulk[name])]
    return sorted({*twice, *broken})


def _limits(there: Held) -> Limits:
    """How much the zip of a row may hold, by what is listed of it."""
    lying = [one for same in there.values() for one in same]
    return Limits.of_sum(len(lying), sum(one.size_bytes for one in lying))


def _read(connection: Connection, uri: str, one: Lying):
    with (
        connection.open_prearchive_file(uri, one.scan, one.resource, one.path) as chunks,
        whole(chunks) as view,
    ):
        return see(view, scan=one.scan, resource=one.resource, path=one.path, key=b"")


def _is_whole(seen, bulk: str) -> bool:
    return seen is not None and not seen.problem and seen.content is not None and seen.content.bulk == bulk


def all_ours(connection: Connection, uri: str, there: Held, names: set[str], instances: set[str]) -> bool:
    """Whether a row holds nothing but what was sent: by name, or else by instance, since XNAT names twins anew."""
    if there and set(there) <= names:
        return True
    with connection.open_prearchive(uri) as chunks:
        found = read_back(chunks, key=b"", limits=_limits(there))
    return all(
        name_of(one.path) in names or (one.content is not None and one.content.sop_instance_uid in instances)
        for one in found
    )


def gone(connection: Connection, uri: str, wait_s: float) -> bool:
    """Whether a row is not there; one that is being deleted is waited for."""
    until = time.monotonic() + wait_s
    while (row := connection.prearchive_row(uri)) is not None:
        if "DELETING" not in row["status"] or time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def watched(connection: Connection, uri: str, send: Callable[[], str], look_s: float = 5.0) -> str:
    """Send an archive request and look at the row while it is not answered; returns the answer.

    XNAT answers a failure up to ten minutes after the row tells it (seen on live servers).

    Raises
    ------
    ServerError
        If the row says CONFLICT or ERROR twice, so many seconds apart, while no answer came.
    XnbTransferError
        What the request ended with.
    """
    answer: list[str] = []
    problem: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            answer.append(send())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            problem.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, daemon=True, name="xnbtransfer-archive").start()
    before = ""
    while not ended.wait(look_s):
        row: dict | None = None
        with contextlib.suppress(TransientError, ServerError):
            row = connection.prearchive_row(uri)
        status = row["status"] if row else ""
        if status in ("CONFLICT", "ERROR") and status == before:
            raise ServerError(
                f"The destination has the row in {status}. {connection.waiting_log(uri)}".strip(), status=500
            )
        before = status
    if problem:
        raise problem[0]
    return answer[0]


def name_of(path: str) -> str:
    """The last part of a path."""
    return path.rsplit("/", 1)[-1]
