"""What the contract's tests stand on: people who speak plain HTTP, projects of their own, DICOM to send."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import secrets
import time
import zipfile
from collections.abc import Callable, Iterator

import pydicom
import pytest
import requests

from xnbtransfer.server.demo_files import SeriesPlan, make_series, make_uid

Files = list[tuple[str, bytes]]

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
DEIDENTIFIED = "DeidentificationMethodCodeSequence"


class Agent(requests.Session):
    """Somebody at the server under test; paths are relative to its address, redirects are shown and not followed."""

    def __init__(self, site: Site, login: str, pair: tuple[str, str] | None) -> None:
        super().__init__()
        self.site, self.login, self.auth = site, login, pair
        self.headers["User-Agent"] = "python-requests"

    def request(self, method, url, *args, **kwargs):
        kwargs.setdefault("timeout", 300)
        kwargs.setdefault("allow_redirects", False)
        return super().request(method, self.site.url + url, *args, **kwargs)

    def table(self, path: str, **params: str) -> dict:
        """The ResultSet of a list."""
        answer = self.get(path, params={"format": "json", **params})
        assert answer.status_code == 200, f"{answer.status_code} {message(answer)}"
        return answer.json()["ResultSet"]

    def rows(self, path: str, **params: str) -> list[dict]:
        return self.table(path, **params)["Result"]

    def fields(self, path: str) -> dict:
        """The fields of one item."""
        answer = self.get(path, params={"format": "json"})
        assert answer.status_code == 200, f"{answer.status_code} {message(answer)}"
        return answer.json()["items"][0]["data_fields"]


class Site:
    """A server with its people; every agent is logged in by Basic."""

    def __init__(self, url: str, people: dict[str, tuple[str, str]], *, real: bool = False) -> None:
        self.url, self.people, self.real = url, people, real
        self.prefix = f"XT{secrets.token_hex(3).upper()}"
        self._agents: dict[str, Agent] = {}
        self._made: list[Desk] = []
        self._numbers = itertools.count(1)
        build = requests.get(f"{url}/xapi/siteConfig/buildInfo", timeout=60)
        self.version = build.json()["version"] if build.ok else "1.6"

    def agent(self, role: str) -> Agent:
        """admin, owner, member, collaborator or outsider; the test is skipped where there is no such person."""
        if role not in self.people:
            pytest.skip(f"needs a person for the role {role}, and the account given is no administrator's")
        if role not in self._agents:
            pair = self.people[role]
            self._agents[role] = Agent(self, pair[0], pair)
        return self._agents[role]

    def stranger(self, user_agent: str = "python-requests") -> Agent:
        """Somebody without credentials and cookies."""
        found = Agent(self, "", None)
        found.headers["User-Agent"] = user_agent
        found.trust_env = False
        return found

    def since(self, version: str) -> None:
        """Skip the test on a server that is older than ``version``."""
        if _number(self.version) < _number(version):
            pytest.skip(f"XNAT {self.version} does not have this; it came with {version}")

    def embedded_only(self, reason: str) -> None:
        """Skip the test on a real XNAT."""
        if self.real:
            pytest.skip(f"not done to a real XNAT: it {reason}")

    def closed(self) -> None:
        """Skip the test on a site that strangers may read."""
        if self.stranger().get("/data/projects").status_code == 200:
            pytest.skip("this site is open to strangers")

    @contextlib.contextmanager
    def setting(self, name: str, value: str) -> Iterator[None]:
        """A preference of the whole site, for as long as the context lasts."""
        self.embedded_only("would change a setting of the whole site")
        admin = self.agent("admin")
        before = admin.get(f"/xapi/siteConfig/{name}")
        assert before.status_code == 200, f"preference {name}: {before.status_code}"
        try:
            self.set(name, value)
            yield
        finally:
            self.set(name, before.text)

    def set(self, name: str, value: str) -> None:
        answer = self.agent("admin").post(
            f"/xapi/siteConfig/{name}", data=value, headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 200, message(answer)

    def name(self) -> str:
        """A name that nobody has used at this server."""
        return f"{self.prefix}_{next(self._numbers)}"

    def desks(self, roles: tuple[str, ...] = ("member", "collaborator")) -> Iterator[Desk]:
        """One fresh project; from a real XNAT it is removed at the end of all tests."""
        found = Desk(self, roles)
        self._made.append(found)
        yield found

    def clear(self) -> None:
        """Remove the projects that were made; twice, since what was moved can hold another one back."""
        for _ in range(2):
            for found in list(self._made):
                gone = found.owner.delete(found.path, params={"removeFiles": "true"})
                if gone.status_code in (200, 404):
                    self._made.remove(found)
        assert not self._made, f"left at the server: {', '.join(found.project for found in self._made)}"

    def renew(self) -> None:
        """Log everybody in anew: XNAT keeps a person's rights for as long as a log-in lasts."""
        if self.real:
            time.sleep(1)
            for agent in self._agents.values():
                agent.cookies.clear()

    def close(self) -> None:
        for agent in self._agents.values():
            agent.close()


@contextlib.contextmanager
def real_site(address: str, pair: tuple[str, str]) -> Iterator[Site]:
    """A real XNAT; with an administrator's account it has people for all roles while the context lasts."""
    site = Site(address, {"owner": pair}, real=True)
    asking = Agent(site, pair[0], pair)
    roles = asking.get(f"/xapi/users/{pair[0]}/roles")
    made = []
    try:
        if roles.ok and "Administrator" in roles.json():
            site.people["admin"] = pair
            for role in ("owner", "member", "collaborator", "outsider"):
                login, password = f"{site.prefix.lower()}{role}", secrets.token_urlsafe(16) + "aA1"
                person = {
                    "username": login,
                    "password": password,
                    "email": f"{login}@example.org",
                    "verified": True,
                    "firstName": role.title(),
                    "lastName": "Contract",
                    "enabled": True,
                }
                answer = asking.post("/xapi/users", json=person)
                assert answer.status_code in (200, 201), answer.status_code
                made.append(login)
                site.people[role] = (login, password)
        yield site
        site.clear()
    finally:
        for login in made:
            gone = asking.put(f"/xapi/users/{login}/enabled/false")
            assert gone.status_code in (200, 304), f"the account {login} is left enabled: {gone.status_code}"
        asking.delete("/data/JSESSION")
        asking.close()
        site.close()


class Desk:
    """A project, and its owner's hands."""

    def __init__(self, site: Site, roles: tuple[str, ...]) -> None:
        self.site, self.project, self.owner = site, site.name(), site.agent("owner")
        answer = self.owner.put(self.path, params={"accessibility": "private"})
        assert answer.status_code == 200, message(answer)
        for role in roles:
            if role in site.people:
                self.invite(role, f"{role.title()}s")
        self.code(0)
        site.renew()

    def invite(self, role: str, group: str) -> None:
        answer = self.owner.put(f"{self.path}/users/{group}/{self.site.people[role][0]}")
        assert answer.status_code == 200, message(answer)

    def code(self, number: int) -> None:
        """Set what the project does with sessions in its prearchive."""
        answer = self.owner.put(f"{self.path}/prearchive_code/{number}")
        assert answer.status_code == 200, message(answer)

    @property
    def path(self) -> str:
        return f"/data/projects/{self.project}"

    def person(self, role: str) -> Agent:
        return self.site.agent(role)

    # -- objects ------------------------------------------------------------------------------------------------

    def subject(self, label: str, **fields: str) -> str:
        answer = self.owner.put(f"{self.path}/subjects/{label}", params=fields)
        assert answer.status_code in (200, 201), message(answer)
        return answer.text

    def session(self, subject: str, label: str, kind: str = "mr", **fields: str) -> str:
        """A new session without files; its accession number."""
        given = {"xsiType": f"xnat:{kind}SessionData", **fields}
        answer = self.owner.put(f"{self.path}/subjects/{subject}/experiments/{label}", params=given)
        assert answer.status_code == 201, message(answer)
        return answer.text.strip()

    def scan(self, session: str, scan: str, kind: str = "mr", **fields: str) -> None:
        given = {"xsiType": f"xnat:{kind}ScanData", **fields}
        answer = self.owner.put(f"/data/experiments/{session}/scans/{scan}", params=given)
        assert answer.status_code == 200, message(answer)

    def assessor(self, session: str, label: str, **fields: str) -> str:
        """A new assessor of a session; its accession number."""
        given = {"xsiType": "xnat:qcManualAssessorData", **fields}
        answer = self.owner.put(f"/data/experiments/{session}/assessors/{label}", params=given)
        assert answer.status_code in (200, 201), message(answer)
        return answer.text.strip()

    def upload(self, path: str, data: bytes, who: Agent | None = None, **params: str):
        """PUT one file raw; ``path`` is absolute."""
        headers = {"Content-Type": "application/octet-stream"}
        return (who or self.owner).put(path, data=data, params={"inbody": "true", **params}, headers=headers)

    def furnish(self) -> None:
        """Two MR sessions and a CT session with scans and a few files."""
        self.ids = {
            "S1_MR1": self._session("S1_MR1", "mr", "1.2.3.1", "2018-07-03"),
            "S1_MR2": self._session("S1_MR2", "mr", "1.2.3.2", "2018-08-03"),
            "S1_CT1": self._session("S1_CT1", "ct", "2.25.3", "2018-07-10"),
        }
        for session, scan, kind, type_, files in (
            ("S1_MR1", "1", "mr", "localizer", ("a.dcm", "b.dcm")),
            ("S1_MR1", "2", "mr", "T1 (axial)", ("deep/c.dcm",)),
            ("S1_MR2", "1", "mr", "localizer", ("a.dcm",)),
            ("S1_CT1", "1", "ct", "topogram", ()),
        ):
            self.scan(self.ids[session], scan, kind, type=type_, series_description=type_, quality="usable")
            for name in files:
                path = f"/data/experiments/{self.ids[session]}/scans/{scan}/resources/DICOM/files/{name}"
                assert self.upload(path, self.content(session, name), format="DICOM").status_code == 200

    def _session(self, label: str, kind: str, uid: str, date: str) -> str:
        stem = f"xnat:{kind}SessionData"
        return self.session(
            "S1", label, kind, **{f"{stem}/UID": uid, f"{stem}/date": date, f"{stem}/modality": kind.upper()}
        )

    @staticmethod
    def content(session: str, name: str) -> bytes:
        return f"{session} {name}".encode() * 20

    # -- DICOM --------------------------------------------------------------------------------------------------

    def series(
        self,
        number: int,
        count: int,
        *,
        source: str = "MR",
        study: str = "A",
        subject: str = "S1",
        session: str = "S1_MR1",
        project: str = "nowhere",
        **changes: str,
    ) -> Files:
        """Files of one series; ``project`` is their StudyDescription, ``changes`` sets DICOM keywords in each."""
        plan = SeriesPlan(source=source, number=number, description=f"series {number}", count=count)
        made = make_series(
            plan,
            project=project,
            subject=subject,
            session=session,
            date="20240102",
            study_uid=make_uid(self.site.prefix, self.project, study),
        )
        return [(name, changed(data, **changes) if changes else data) for name, data in made]

    def send(self, files: Files, who: str = "owner", **params: str):
        """One import as a raw zip; ``import_handler`` is ``DICOM-zip`` unless given."""
        given = {name.replace("import_handler", "import-handler"): value for name, value in params.items()}
        given.setdefault("import-handler", "DICOM-zip")
        headers = {"Content-Type": "application/zip"}
        return self.person(who).post(
            "/data/services/import", params={"inbody": "true", **given}, data=zipped(files), headers=headers
        )

    def to_prearchive(self, files: Files, **params: str) -> str:
        """Import and leave it waiting, built; the row's address."""
        answer = self.send(files, dest=f"/prearchive/projects/{self.project}", **params)
        assert answer.status_code == 200, message(answer)
        return answer.text.strip()

    def to_archive(self, files: Files, session: str = "S1_MR1", subject: str = "S1", **params: str):
        return self.send(files, dest=self.target(session, subject), **params)

    def archived(self, files: Files, session: str = "S1_MR1", subject: str = "S1", **params: str) -> str:
        """Import into the archive; the accession number."""
        answer = self.to_archive(files, session, subject, **params)
        assert answer.status_code == 200, message(answer)
        return self.accession(session)

    def target(self, session: str = "S1_MR1", subject: str = "S1") -> str:
        return f"/archive/projects/{self.project}/subjects/{subject}/experiments/{session}"

    def archive(self, uri: str, **params: str):
        return self.owner.post("/data/services/archive", params={"src": uri, "auto-archive": "false", **params})

    # -- what is there ------------------------------------------------------------------------------------------

    def sessions(self) -> dict[str, dict]:
        columns = "ID,label,project,date,UID,subject_label,xsiType,session_ID"
        rows = self.owner.rows(f"{self.path}/experiments", columns=columns)
        return {row["label"]: row | {"ID": row["URI"].rpartition("/")[2]} for row in rows}

    def accession(self, session: str) -> str:
        return self.sessions()[session]["ID"]

    def scans(self, session: str) -> dict[str, int]:
        """Scan id to number of its DICOM files."""
        accession = self.accession(session)
        found = {row["ID"]: 0 for row in self.owner.rows(f"/data/experiments/{accession}/scans")}
        for row in self.owner.rows(f"/data/experiments/{accession}/scans/ALL/files"):
            scan = row["URI"].split("/scans/")[1].split("/")[0]
            found[scan] = found.get(scan, 0) + 1
        return found

    def waiting(self, who: str = "owner") -> list[dict]:
        return self.person(who).rows(f"/data/prearchive/projects/{self.project}")

    def headers(self, address: str) -> list[pydicom.Dataset]:
        """The DICOM files in the zip at ``address``, by name."""
        answer = self.owner.get(address, params={"format": "zip"})
        assert answer.status_code == 200, message(answer)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".dcm"))
            return [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in names]

    def workflows(self, accession: str) -> list[dict]:
        """The audit entries of a session, the oldest first."""
        answer = self.owner.get(f"/data/experiments/{accession}/history", params={"format": "json"})
        assert answer.status_code == 200, message(answer)
        return sorted(answer.json()["events"], key=lambda event: event["event_id"])


def changed(data: bytes, **changes: str) -> bytes:
    """A DICOM file with other values of elements."""
    dataset, out = pydicom.dcmread(io.BytesIO(data)), io.BytesIO()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(out)
    return out.getvalue()


def zipped(files: Files) -> bytes:
    """A stored zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def message(answer: requests.Response) -> str:
    """What a status page says."""
    found = re.search(r"<h3>(.*?)</h3>", answer.text)
    return found[1] if found else answer.text[:300]


def keys(rows: list[dict]) -> set[str]:
    """The keys that all rows have; every cell is text."""
    assert rows, "a list with rows"
    found = {frozenset(row) for row in rows}
    assert len(found) == 1, "rows of one list have the same keys"
    assert all(isinstance(value, str) for row in rows for value in row.values())
    return set(found.pop())


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for what the server does afterwards."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} seconds"
        time.sleep(0.05)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
