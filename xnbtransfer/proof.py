"""The proof of one session in a run: what was sent, laid beside what the prearchive holds, and then the archive."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable, Iterable, Iterator

from .methods import ImportDoor, Work, name_of
from .plan import Plan
from .streams import Seen, see, whole
from .values import Verdict
from .verify import expected_changes, judge, misplaced, not_proved, read_back
from .xnat import Connection

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
        destination: Connection,
        door: ImportDoor,
        key: bytes,
        pace: Callable[[Iterable[bytes]], Iterator[bytes]],
    ) -> None:
        self.plan, self.options = plan, plan.transfer_options
        self.destination, self.door, self.key, self.pace = destination, door, key, pace

    def in_prearchive(self, work: Work, sent: list[Seen]) -> Rows:
        """Rows of MANIFEST_COLUMNS for ``sent``, and of FILE_COLUMNS for what nothing accounts for; builds first."""
        session = work.session
        self.door.build(work)
        expected = expected_changes(self.plan, session, archived=False)
        if self.options.proof == "all":
            with self.destination.open_prearchive(work.uri) as chunks:
                there = read_back(self.pace(chunks), key=self.key)
            return judge(session, sent, there, expected, key=self.key, where="the prearchive")
        there = self._sample(work, sent)
        names = self.door.names_at(work.uri)
        rows, extra = judge(session, [s for s, _ in there], [t for _, t in there], expected, key=self.key, where="it")
        for one in sent:
            if one in [s for s, _ in there]:
                continue
            new = not_proved(session, [one], f"proof={self.options.proof}: it was not read back")
            if not one.problem and one.name not in names:
                new[0] |= {"verdict": Verdict.DIFFERENT, "because": "the prearchive does not list it"}
            rows += new
        return rows, extra

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
        """The same of the archive: by the MD5s it lists of what was read back before, or by reading it again."""
        session, rows = work.session, work.rows
        read = [row for row in rows if row.get("destination_md5")]
        digests = collections.Counter(row["md5"] for row in listed if row["md5"])
        missing = collections.Counter(row["destination_md5"] for row in read) - digests
        if self.options.proof == "all" and (missing or not rows):
            with self.destination.open_session(self.door.archived_id(session)) as chunks:
                there = read_back(self.pace(chunks), key=self.key, listed=listed)
            expected = expected_changes(self.plan, session, archived=True)
            return judge(session, sent, there, expected, key=self.key, where="the archive")
        by_md5 = {row["md5"]: row for row in listed if row["md5"]}
        by_name = {name_of(row["path"]): row for row in listed}
        names = {(one.scan, one.resource, one.path): one.name for one in sent if one.name}
        for row in rows:
            name = names.get((row["scan"], row["resource"], row["path"]))
            found = by_name.get(name)
            if found is None or found["md5"] != row.get("destination_md5"):
                found = by_md5.get(row.get("destination_md5")) or found
            if found is not None:
                if row.get("destination_md5") not in (None, "", found["md5"]):
                    self._read_again(work, row, found, sent)
                row |= {"destination_scan": found["scan"], "destination_path": found["path"]}
                row |= {"destination_md5": found["md5"], "destination_size_bytes": found["size_bytes"]}
            if name and found is None:
                row |= {"verdict": Verdict.DIFFERENT, "because": "the archive does not list it"}
            elif row["verdict"] == Verdict.NOT_PROVED and row["source_md5"] == found["md5"]:
                row |= {"verdict": Verdict.EQUAL, "because": "its listed MD5 is that of the source"}
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

    def _read_again(self, work: Work, row: dict, found: dict, sent: list[Seen]) -> None:
        """A file of a sample whose bytes in the archive are not those that were read back in the prearchive."""
        session_id, place = self.door.archived_id(work.session), (found["scan"], found["resource"], found["path"])
        with self.destination.open_scan_file(session_id, *place) as chunks, whole(chunks) as view:
            there = see(view, scan=place[0], resource=place[1], path=place[2], key=self.key)
        one = next(
            one for one in sent if (one.scan, one.resource, one.path) == (row["scan"], row["resource"], row["path"])
        )
        expected = expected_changes(self.plan, work.session, archived=True)
        rows, _ = judge(work.session, [one], [there], expected, key=self.key, where="the archive")
        row |= rows[0]
