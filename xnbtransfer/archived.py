"""Which archived session is ours: the one with the accession that archiving or creation returned, and no other.

Called wherever a session of the destination is read, written, proved or deleted. A row that another project owns, or
whose accession is that of the source, is never the copy, whatever its label and its study: a list with session-level
columns names a session that is shared in by its owner's label (live 1.8.11, ``/data/projects/P/experiments`` with
``label=``: the row of the owner, recorded). Reads only.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from .conflicts import study_uids
from .errors import RefusedError
from .plan_file import Plan, SessionPlan
from .xnat import Connection


def archived_session(
    connection: Connection, project: str, label: str, study: str, *, accession: str = "", source: str = ""
) -> str:
    """The accession of the session that was made from ours in the archive of ``project``, or "".

    Where the accession is known this is one request for the session's own document
    (:meth:`Connection.session_item`), the only one for it after archiving: who wants more of that document reads it
    from the same answer.

    Parameters
    ----------
    label, study : str
        Its label there and the StudyInstanceUID that it had at the source. They decide only where no accession is
        known: the journals of earlier versions hold none, and the answer to an archive request may be lost.
    accession : str
        What archiving or creation returned.
    source : str
        The accession of the source session, where it is on the same server.

    Raises
    ------
    RefusedError
        If no accession is known and several sessions of the project have this label and study.
    """
    if accession:
        item = None if accession == source else connection.session_item(accession)
        return accession if item is not None and item["project"] == project else ""
    studies = study_uids(study)
    found = {
        row["session_id"]
        for row in connection.own_sessions(project, label)
        if row["StudyInstanceUID"] in studies and row["session_id"] != source
    }
    if len(found) > 1:
        raise RefusedError(
            f"{project} has {len(found)} sessions {label} of one study, and no record says which of them is the copy.",
            "Ask an owner of the project to delete or rename those that are not meant.",
        )
    return found.pop() if found else ""


def archived_copy(connection: Connection, plan: Plan, session: SessionPlan, accession: str = "") -> str:
    """The accession of what a session of ``plan`` became in the archive of its destination, or ""; else as above."""
    return archived_session(
        connection,
        plan.destination.project,
        session.destination_session,
        session.StudyInstanceUID,
        accession=accession,
        source=source_accession(plan, session),
    )


def source_accession(plan: Plan, session: SessionPlan) -> str:
    """The accession of the source session where both sides are one server, else "": another server counts anew."""
    same = plan.source.server.rstrip("/") == plan.destination.server.rstrip("/")
    return session.session_id if same else ""


def made_otherwise(address: str, project: str, subject: str, session: str) -> str:
    """Where an address that archiving answered is not that of the labels that were asked for, as words; else "".

    XNAT answers ``/data/archive/projects/P/subjects/S/experiments/E``, with labels (recorded, form F68). It finds a
    subject in whatever case its label is written (XNAT source, ``PrearcSessionArchiver`` line 235).
    """
    found = re.search(r"/projects/([^/]+)/subjects/([^/]+)/experiments/([^/?#]+)", address)
    if found is None:
        return ""
    told = tuple(map(unquote, found.groups()))
    if (told[0], told[1].casefold(), told[2]) == (project, subject.casefold(), session):
        return ""
    made = f"{told[1]}/{told[2]} in {told[0]}"
    return f"asked to archive as {subject}/{session} in {project}, the server says that it is {made}"


def same_study(uid: str, other: str) -> bool:
    """Whether two StudyInstanceUIDs name one study, also where a script has hashed one of them."""
    return bool(uid) and other in study_uids(uid)
