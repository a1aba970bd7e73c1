"""What a run says at its end: one outcome per session, one row per file, and what went wrong in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .fresh import unsure
from .history import read_history
from .journal import read_journal
from .keys import SessionKey
from .methods import Work
from .plan_file import Plan, SessionPlan, unsent_state
from .values import Verdict
from .verify import SINCE_THE_RUN, missing_rows, not_proved, outcome, unlisted_rows, verify
from .xnat import Connection


@dataclass
class Ended:
    """Rows of OUTCOME_COLUMNS by session, of MANIFEST_COLUMNS and FILE_COLUMNS; ``transient`` if a repetition helps."""

    outcomes: dict[SessionKey, dict] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    extra: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    transient: bool = False

    def ordered(self, plan: Plan) -> list[dict]:
        """One outcome for each session of the plan, in its order."""
        return [
            self.outcomes.get(session.key) or outcome(session, unsent_state(session), (), (), session.because)
            for session in plan.sessions
        ]


def add_finished(
    ended: Ended,
    plan: Plan,
    done: Sequence[SessionPlan],
    journal: Path,
    destination: Connection,
    source: Connection,
) -> None:
    """Sessions that an earlier run has proved: by their listings, and by all of their bytes where those do not do."""
    if not done:
        return
    finished = plan.model_copy(update={"sessions": tuple(done)})
    earlier = verify(finished, journal, destination, proof=SINCE_THE_RUN, beside=False)
    open_points = earlier.sessions["not_proved"].any() or earlier.sessions["different"].any()
    proved = (Verdict.EQUAL, Verdict.EXPLAINED)
    history = read_history(read_journal(journal))
    before = sum(row["verdict"] in proved for one in done for row in history[one.key].rows)
    less = earlier.counts[Verdict.EQUAL] + earlier.counts[Verdict.EXPLAINED] < before
    whole = plan.transfer_options.proof in ("all", "prearchive")
    if less or (open_points and whole):
        # What a sample left open stays open: a further run reads no more of the source than the first did.
        earlier = verify(finished, journal, destination, source if whole else None, beside=False)
    for row in earlier.sessions.to_dict("records"):
        ended.outcomes[SessionKey(row["subject"], row["session"])] = row
    ended.rows += earlier.files.to_dict("records")
    ended.extra += earlier.extra.to_dict("records")


def add_silent(ended: Ended, plan: Plan, source: Connection) -> None:
    """Sessions of which the lists named nothing to send: where their own documents do, that is no answer to rest on."""
    silent = [one for one in plan.sessions if one.action == "skip" and not one.scans]
    if plan.transfer_options.of_scans:
        return
    for key, found in unsure(plan, silent, None, source).items():
        session = next(one for one in silent if one.key == key)
        rows = unlisted_rows(session, found)
        ended.rows += rows
        ended.outcomes[key] = outcome(session, unsent_state(session), rows, (), session.because)


def add_works(ended: Ended, works: Iterable[Work]) -> None:
    """Sessions of this run, as far as each of them came."""
    for work in works:
        session = work.session
        found = work.rows if work.state else _unfinished(work)
        ended.rows += found
        ended.extra += work.extra
        because = work.because or (str(work.failed) if work.failed else "")
        state = "failed" if work.failed is not None else (work.state or "failed")
        if work.failed is not None:
            ended.problems.append(f"{session.key}: {work.failed}")
            ended.transient = ended.transient or work.failed.retry
        elif not work.state:
            ended.problems.append(f"{session.key}: {work.because or 'was not reached'}")
            ended.transient = True
        ended.outcomes[session.key] = outcome(session, state, found, work.extra, because)


def add_existing(ended: Ended, works: Iterable[Work]) -> None:
    """Sessions that were not sent since the destination has them, and that were read back on both sides."""
    for work in works:
        ended.rows += work.rows
        ended.extra += work.extra
        if work.failed is not None:
            ended.problems.append(f"{work.session.key} was not read back: {work.failed}")
            ended.transient = ended.transient or work.failed.retry
        state = work.state if work.rows or work.failed is None else "failed"
        ended.outcomes[work.session.key] = outcome(work.session, state, work.rows, work.extra, work.because)


def all_right(work: Work) -> bool:
    """Whether a session came to its end without a file that is different or that nothing accounts for."""
    right = {Verdict.EQUAL, Verdict.EXPLAINED, Verdict.NOT_PROVED}
    return bool(work.state) and not work.extra and all(row["verdict"] in right for row in work.rows)


def _unfinished(work: Work) -> list[dict]:
    because = str(work.failed) if work.failed else "the run ended before it was compared"
    found = []
    for scan in work.session.sent_scans:
        seen = work.seen.get((scan.scan, scan.resource))
        if seen is None:
            found += missing_rows(work.session, [(scan.scan, scan.resource, scan.files, scan.size_bytes)], because)
        else:
            found += not_proved(work.session, seen, because)
    return found
