"""The proof of one session in a run: what was sent, laid beside what the prearchive holds, and then the archive.

On request the same of a session that is not sent since the destination has it already.
"""

from __future__ import annotations

import collections
import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from .archived import archived_copy
from .arrival import held, name_of
from .errors import RefusedError
from .methods import ImportDoor, Work
from .plan import Plan, SessionPlan
from .streams import Seen, see, whole
from .values import Verdict
from .verify import (
    NOT_IN_ARCHIVE,
    Decoded,
    decoded_by,
    expected_changes,
    foretelling,
    judge,
    misplaced,
    not_proved,
    read_back,
    read_source_scan,
    share_elements,
    study_of,
)
from .xnat import Connection
from .zips import Limits


def no_longer_listed(rows: Iterable[dict], listed: Iterable[dict]) -> list[dict]:
    """The rows of a proof, those different that the destination lists otherwise since something else was written."""
    now = {(one["scan"], one["path"]): one for one in listed}
    found = []
    for row in rows:
        one = now.get((row.get("destination_scan"), row.get("destination_path")))
        because = ""
        if row.get("destination_path") and one is None:
            because = "the destination no longer lists it since resources or fields were written"
        elif one is not None and (
            one["size_bytes"] != row["destination_size_bytes"]
            or (one["md5"] and row.get("destination_md5") and one["md5"] != row["destination_md5"])
        ):
            because = "the destination lists it with another size or MD5 since resources or fields were written"
        found.append(row | {"verdict": Verdict.DIFFERENT, "because": because} if because else row)
    return found


Rows = tuple[list[dict], list[dict]]


class Proof:
    """Judges sessions of one plan at its destination.

    Parameters
    ----------
    key : bytes
        What header digests of this run are keyed with.
    pace : callable
        Slows a stream of chunks down to the rate of the plan.
    """

    def __init__(
        self,
        plan: Plan,
        source: Connection,
        destination: Connection,
        door: ImportDoor,
        key: bytes,
        pace: Callable[[Iterable[bytes]], Iterator[bytes]],
    ) -> None:
        self.plan, self.options = plan, plan.transfer_options
        self.source, self.destination, self.door, self.key, self.pace = source, destination, door, key, pace

    def in_prearchive(self, work: Work, sent: list[Seen]) -> Rows:
        """Rows of MANIFEST_COLUMNS for ``sent``, and of FILE_COLUMNS for what nothing accounts for; builds first."""
        session = work.session
        expected = expected_changes(self.plan, session, archived=False)
        if not self.reads_all:
            self.door.build(work)
        else:
            told = foretelling(sent, expected, key=self.key)
            limits = Limits.of_sum(len(sent), sum(one.size_bytes for one in sent))
            with told.ahead():  # while the server builds, and while it is read
                self.door.build(work)
                with self.destination.open_prearchive(work.uri) as chunks:
                    there = read_back(self.pace(chunks), key=self.key, limits=limits)
            work.read = {one.md5: one for one in share_elements(there)} if self.options.archive else {}
            work.pairs = {}
            decoded = self._decoded(work, partial(self.destination.open_prearchive_file, work.uri))
            rows, extra = judge(
                session,
                sent,
                there,
                expected,
                key=self.key,
                where="the prearchive",
                decoded=decoded,
                pairs=work.pairs,
                told=told,
            )
            return self._listed(work, sent, rows), extra
        there = self._sample(work, sent)
        names = set(held(self.destination, work.uri))
        picked = [one for one, _ in there]
        rows, extra = judge(session, picked, [two for _, two in there], expected, key=self.key, where="the prearchive")
        for one in sent:
            if one in picked:
                continue
            new = not_proved(session, [one], f"proof={self.options.proof}: it was not read back")
            if not one.problem and one.name not in names:
                new[0] |= {"verdict": Verdict.DIFFERENT, "because": "the prearchive does not list it"}
            rows += new
        return rows, extra

    def _listed(self, work: Work, sent: list[Seen], rows: list[dict]) -> list[dict]:
        """The rows, those of files that lie in the folder and are not listed as different.

        What is archived is what the row lists, and that was made when it was built: a file that arrived meanwhile lies
        in the folder, and is lost (recorded from a live 1.8.11).
        """
        listed = self.destination.prearchive_resources(work.uri)
        counted = sum(row["files"] for row in listed)
        if counted >= sum(1 for one in sent if not one.problem):
            return rows
        names = set(held(self.destination, work.uri))
        missing = {(one.scan, one.resource, one.path) for one in sent if one.name and one.name not in names}
        because = "it lies in the prearchive and is not listed there, so it would not be archived"
        return [
            row | {"verdict": Verdict.DIFFERENT, "because": because}
            if (row["scan"], row["resource"], row["path"]) in missing
            else row
            for row in rows
        ]

    @property
    def reads_all(self) -> bool:
        """Whether every file is read back in the prearchive: the gate that keeps a bad upload out of the archive."""
        return self.options.proof in ("all", "prearchive")

    def _decoded(self, work: Work, there: Callable) -> Decoded:
        return decoded_by(partial(self.source.open_scan_file, work.session.session_id), there)

    def _sample(self, work: Work, sent: list[Seen]) -> list[tuple[Seen, Seen]]:
        if not self.options.sample:
            return []
        at = {}
        for row in self.destination.prearchive_resources(work.uri):
            for one in self.destination.prearchive_files(work.uri, row["scan"], row["resource"]):
                at[name_of(one["path"])] = (row["scan"], row["resource"], one["path"])
        picked = []
        by_scan: dict[tuple[str, str], list[Seen]] = {}
        for one in sent:
            if one.name in at:
                by_scan.setdefault((one.scan, one.resource), []).append(one)
        for group in by_scan.values():
            for one in random.sample(group, min(self.options.sample, len(group))):
                scan, resource, path = at[one.name]
                with (
                    self.destination.open_prearchive_file(work.uri, scan, resource, path) as chunks,
                    whole(chunks) as view,
                ):
                    picked.append((one, see(view, scan=scan, resource=resource, path=path, key=self.key)))
        return picked

    def in_archive(self, work: Work, sent: list[Seen], listed: list[dict]) -> Rows:
        """The same of the archive, by reading it: there alone the files stay, and a server may list what it was sent.

        With ``proof=prearchive`` it is read only where it does not list what was read back before.
        """
        session, rows = work.session, work.rows
        read = [row for row in rows if row.get("destination_md5")]
        digests = collections.Counter(row["md5"] for row in listed if row["md5"])
        missing = collections.Counter(row["destination_md5"] for row in read) - digests
        if self.options.proof == "all" or (self.reads_all and (missing or not rows)):
            session_id = self.door.archived_id(work)
            expected = expected_changes(self.plan, session, archived=True)
            alike = expected == expected_changes(self.plan, session, archived=False)
            told = foretelling(sent, expected, key=self.key)
            ahead = contextlib.nullcontext() if alike and work.pairs else told.ahead()
            with ahead, self.destination.open_session(session_id) as chunks:
                there = read_back(self.pace(chunks), key=self.key, listed=listed, known=work.read)
            pairs, work.read, work.pairs = work.pairs if alike else {}, {}, {}
            decoded = self._decoded(work, partial(self.destination.open_scan_file, session_id))
            return judge(
                session,
                sent,
                there,
                expected,
                key=self.key,
                where="the archive",
                decoded=decoded,
                pairs=pairs,
                told=told,
            )
        rows = rows or not_proved(session, sent, f"proof={self.options.proof}: it was not read back")
        by_md5 = {row["md5"]: row for row in listed if row["md5"]}
        by_name = {name_of(row["path"]): row for row in listed}
        names = {(one.scan, one.resource, one.path): one.name for one in sent if one.name}
        for row in rows:
            name = names.get((row["scan"], row["resource"], row["path"]))
            found = by_name.get(name)
            if found is None or found["md5"] != row.get("destination_md5"):
                found = by_md5.get(row.get("destination_md5")) or found
            if found is not None:
                if row.get("read_in") and not self.reads_all:
                    self._read_again(work, row, found, sent)
                row |= {"destination_scan": found["scan"], "destination_path": found["path"]}
                row |= {"destination_md5": found["md5"], "destination_size_bytes": found["size_bytes"]}
            if name and found is None:
                row |= {"verdict": Verdict.DIFFERENT, "because": "the archive does not list it"}
            elif row["verdict"] == Verdict.NOT_PROVED and found and row["source_md5"] == found["md5"]:
                because = "its listed MD5 is that of the source, its bytes were not read"
                row["because"] = f"proof={self.options.proof}: {because}"
            elif self.reads_all and row["verdict"] in (Verdict.EQUAL, Verdict.EXPLAINED):
                row["because"] += f"; {NOT_IN_ARCHIVE}"
        placed = {(one.scan, one.resource, one.path): one for one in sent}
        where = {
            at: (placed[row["scan"], row["resource"], row["path"]], row["destination_scan"])
            for at, row in enumerate(rows)
            if row.get("destination_scan")
        }
        for at, because in misplaced(where, apart=True).items():
            rows[at] |= {"verdict": Verdict.DIFFERENT, "because": because}
        ours = {(row.get("destination_scan"), row.get("destination_path")) for row in rows}
        scans = {scan for scan, _ in ours}
        extra = [
            {
                **{column: row[column] for column in ("scan", "resource", "path", "size_bytes", "md5")},
                "subject": session.destination_subject,
                "session": session.destination_session,
            }
            for row in listed
            if row["scan"] in scans and (row["scan"], row["path"]) not in ours
        ]
        return rows, extra

    def there_already(self, session: SessionPlan) -> Rows:
        """The same of a session that is not sent since the destination has it: both sides are read, nothing is written.

        All of it is read, whatever ``proof`` says of what is sent.

        Raises
        ------
        RefusedError
            If it is not in the archive of the destination, or not at the source as the plan saw it.
        """
        session_id = archived_copy(self.destination, self.plan, session)
        if not session_id:
            raise RefusedError(
                f"No session of the destination's own is {session.to} with this study, so nothing can be read back.",
                "Plan again: the new plan shows what is there.",
            )
        expected = expected_changes(self.plan, session, archived=True)
        sent = self._at_source(session, keep=bool(expected.steps))
        listed = self.destination.files([session_id])
        with self.destination.open_session(session_id) as chunks:
            there = read_back(self.pace(chunks), key=self.key, listed=listed)
        at_source = partial(self.source.open_scan_file, session.session_id)
        decoded = decoded_by(at_source, partial(self.destination.open_scan_file, session_id))
        return judge(session, sent, there, expected, key=self.key, where="the archive", decoded=decoded)

    def _at_source(self, session: SessionPlan, *, keep: bool) -> list[Seen]:
        """The files of the scans of a plan's session, read at the source."""
        listed: dict[tuple[str, str], dict[str, tuple[int, str]]] = {}
        for row in self.source.files([session.session_id]):
            listed.setdefault((row["scan"], row["resource"]), {})[row["path"]] = (row["size_bytes"], row["md5"])
        sent: list[Seen] = []
        for scan in session.scans:
            files = listed.get((scan.scan, scan.resource), {})
            if len(files) != scan.files:
                raise RefusedError(f"{session.key} is no longer at the source as the plan saw it.", "Plan again.")
            seen, _ = read_source_scan(
                self.source,
                session,
                scan.scan,
                scan.resource,
                files,
                key=self.key,
                study_uid=study_of(sent),
                make_spool=lambda: None,
                pace=self.pace,
                twice=self.options.source_twice,
                keep=keep,
                beside=listed,
            )
            sent += share_elements(seen)
        return sent

    def _read_again(self, work: Work, row: dict, found: dict, sent: list[Seen]) -> None:
        """A file of a sample, read where it stays."""
        session_id, place = self.door.archived_id(work), (found["scan"], found["resource"], found["path"])
        with self.destination.open_scan_file(session_id, *place) as chunks, whole(chunks) as view:
            there = see(view, scan=place[0], resource=place[1], path=place[2], key=self.key)
        one = next(
            one for one in sent if (one.scan, one.resource, one.path) == (row["scan"], row["resource"], row["path"])
        )
        expected = expected_changes(self.plan, work.session, archived=True)
        rows, _ = judge(work.session, [one], [there], expected, key=self.key, where="the archive")
        row |= rows[0]
