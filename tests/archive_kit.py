"""Small sessions where a test wants them: at the source, at the destination, in its prearchive, in a third project."""

from __future__ import annotations

import io
import itertools
import time
import zipfile

from xnbtransfer.server.demo_files import SeriesPlan, make_series, make_uid

_NUMBERS = itertools.count(1)


def logged(server) -> int:
    """How many requests the server has logged, once it has written down those that it has answered."""
    count = -1
    while count != (now := len(server.log())):
        count = now
        time.sleep(0.05)
    return count


class Kit:
    """Three projects of the owner, ``source``, ``destination`` and ``third``, on a server that other tests use, too."""

    def __init__(self, person, role: str = "owner") -> None:
        self.who = person(role)
        number = next(_NUMBERS)
        self.source, self.destination, self.third = (f"KIT{number}_{name}" for name in ("SRC", "DST", "THIRD"))
        for project in (self.source, self.destination, self.third):
            assert self.who.put(f"/data/projects/{project}").status_code == 200
            assert self.who.put(f"/data/projects/{project}/prearchive_code/0").status_code == 200

    def uid(self, *names: str) -> str:
        """A StudyInstanceUID that no other test has."""
        return make_uid(self.source, *names)

    def put(self, project: str, subject: str, session: str, uid: str, *, kind="MR", scans=(1,), waits=False) -> str:
        """Import a session with two files a scan; returns what the server says where it is."""
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as out:
            for number in scans:
                plan = SeriesPlan(source=kind, number=number, description=f"series {number}", count=2)
                labels = {"project": project, "subject": subject, "session": session}
                for name, data in make_series(plan, **labels, study_uid=uid, date="20240108"):
                    out.writestr(f"{number}/{name}", data)
        where = f"/archive/projects/{project}/subjects/{subject}/experiments/{session}"
        query = {"import-handler": "DICOM-zip", "inbody": "true", "dest": where}
        if waits:
            query |= {"dest": f"/prearchive/projects/{project}", "PROJECT_ID": project}
            query |= {"SUBJECT_ID": subject, "EXPT_LABEL": session}
        answer = self.who.post(
            "/data/services/import", params=query, data=body.getvalue(), headers={"Content-Type": "application/zip"}
        )
        assert answer.status_code == 200 and answer.text.strip(), answer.text
        return answer.text.strip()

    def share(self, project: str, subject: str, session: str, to: str, label: str) -> None:
        """Show a session of ``project`` in another one."""
        path = f"/data/projects/{project}/subjects/{subject}/experiments/{session}/projects/{to}"
        assert self.who.put(path, params={"label": label}).status_code == 200

    def files(self, project: str) -> dict[str, list[tuple[str, str, str]]]:
        """Label to (scan, path, MD5) of all its files, of every session that ``project`` owns or shows."""
        found = {}
        for row in self.who.rows(f"/data/projects/{project}/experiments", columns="ID,label"):
            rows = self.who.files(f"/data/experiments/{row['ID']}/scans/ALL/files")
            found[row["label"]] = sorted(
                (one["URI"].split("/scans/")[1].split("/")[0], one["Name"], one["digest"]) for one in rows
            )
        return found
