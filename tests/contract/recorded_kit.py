"""Answers of a live XNAT 1.6.4, asked again of the embedded server: a world as it was, requests, shapes of answers."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import requests
from contract_kit import BROWSER, changed, message, zipped
from recorded_shapes import STAMP, detail, shape

from xnbtransfer.server.demo_files import SeriesPlan, make_series, make_uid

RECORDED = Path(__file__).parent / "recorded"
ROLES = {
    "admin": "admin",
    "owner": "owner",
    "member": "member",
    "collaborator": "collaborator",
    "no role": "outsider",
    "destination owner": "dora",
}


class Memory:
    """What later requests name of earlier answers: the second in which a row was made, a session, a token."""

    def __init__(self) -> None:
        self._rows: dict[str, list[str]] = {}
        self._kept: dict[str, str] = {}

    def learn(self, answer: requests.Response, name: str | None = None) -> None:
        """Note the addresses of rows in an answer; with a name, also its session or its token."""
        for stamp, folder in re.findall(r"/prearchive/projects/\w+/(\d{8}_\d{6,})/(\w+)", answer.text):
            stamps = self._rows.setdefault(folder, [])
            if stamp not in stamps:
                stamps.append(stamp)
        if name:
            token = answer.json() if answer.text[:1] == "{" else {}
            self._kept[name] = answer.cookies.get("JSESSIONID") or answer.text.strip()
            self._kept |= {f"{name} {key}": str(value) for key, value in token.items()}
            self._kept |= dict(re.findall(r"(XNAT_CSRF)=([\w-]+)", answer.text))

    def fill(self, text: str) -> str:
        """Put what is known where a request has ``{timestamp}``, ``{earlier timestamp}`` or ``{a kept name}``."""

        def stamp(found: re.Match) -> str:
            stamps = self._rows.get(found[3], ["20010101_000000"])
            return f"{found[1]}{stamps[0 if found[2] else -1]}/{found[3]}"

        text = re.sub(r"(/prearchive/projects/\w+/)\{(earlier )?timestamp\}/(\w+)", stamp, text)
        return re.sub(r"\{([\w ]+)\}", lambda found: self._kept.get(found[1], found[0]), text)


class World:
    """The embedded server with what the live one held when it was asked."""

    def __init__(self, server) -> None:
        self.server = server
        self._numbers: dict[str, str] = {}
        self.memory = Memory()
        self.people = {role: server.accounts[name] for role, name in ROLES.items() if name in server.accounts}
        self.people["destination owner"] = ("dora", "made for the recording")
        dora = {"username": "dora", "password": self.people["destination owner"][1], "email": "dora@example.org",
                "firstName": "Dora", "lastName": "Destination", "enabled": True, "verified": True}  # fmt: skip
        self._http = {role: requests.Session() for role in [*self.people, "anonymous"]}
        for role, pair in self.people.items():
            self._http[role].auth = pair
        for session in self._http.values():
            session.headers["User-Agent"] = "python-requests"
        made = self._http["admin"].post(f"{server.url}/xapi/users", json=dora, timeout=60)
        assert made.status_code in (200, 201), made.status_code

    def close(self) -> None:
        for session in self._http.values():
            session.close()

    def send(self, role: str, method: str, path: str, **given) -> requests.Response:
        given.setdefault("timeout", 60)
        given.setdefault("allow_redirects", False)
        path = self.memory.fill(path)
        path = re.sub(r"\{(\d+) x (\w+)\}", lambda found: ",".join([self.number(found[2])] * int(found[1])), path)
        for label in re.findall(r"\{(\w+)\}", path):
            path = path.replace("{" + label + "}", self.number(label))
        for who, (login, _) in self.people.items():
            path = path.replace("{login " + who + "}", login)
        return self._http[role].request(method, self.server.url + path, **given)

    def log_in(self, case: dict) -> requests.Response:
        """Send a request about log-ins with just the cookie that it names and, if ``basic``, name and password."""
        headers = {"User-Agent": BROWSER if case.get("browser") else "python-requests"}
        if "cookie" in case:
            headers["Cookie"] = self.memory.fill(f"JSESSIONID={case['cookie']}")
        if "basic" in case:
            name, password = self.people.get(case["basic"], ("{token alias}", "{token secret}"))
            if case["as"] == "wrong password":
                password = "wrong"
            pair = self.memory.fill(f"{name}:{password}")
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        address = self.server.url + self.memory.fill(case["path"])
        return requests.request(case["method"], address, headers=headers, timeout=60, allow_redirects=False)

    def number(self, label: str) -> str:
        """The accession number that a session or a subject has had since it had this label."""
        if label in self._numbers:
            return self._numbers[label]
        for kind in ("experiments", "subjects"):
            asked = {"format": "json", "columns": "ID,label", "label": label}
            found = self._http["admin"].get(f"{self.server.url}/data/{kind}", params=asked, timeout=60)
            rows = [row for row in found.json()["ResultSet"]["Result"] if row["label"] == label]
            if rows:
                self._numbers[label] = rows[0]["ID"]
                return rows[0]["ID"]
        return "NONE_E99999"

    def put(self, path: str, role: str = "owner", **given) -> str:
        answer = self.send(role, "PUT", path, **given)
        assert answer.status_code in (200, 201), f"{path}: {answer.status_code}"
        return answer.text

    def projects(self) -> None:
        """Three projects and their people."""
        self.put("/data/projects/ALPHA?name=Alpha%20study&secondary_ID=ALPHA&description=source&alias=alpha_alias")
        self.put("/data/projects/BETA?name=Beta%20study")
        self.put("/data/projects/GAMMA", "destination owner")
        self.put("/data/projects/CXP")
        for project, group, role in (
            ("ALPHA", "Members", "member"),
            ("ALPHA", "Collaborators", "collaborator"),
            ("BETA", "Owners", "destination owner"),
            ("BETA", "Members", "member"),
        ):
            self.put(f"/data/projects/{project}/users/{group}/{self.people[role][0]}")
        self.put(f"/data/projects/GAMMA/users/Collaborators/{self.people['owner'][0]}", "destination owner")

    def fill(self) -> None:
        """Sessions, scans and files as far as the recorded requests name them."""
        for line in json.loads((RECORDED / "world.json").read_text(encoding="utf-8")):
            self.session(**line)
        for name in ("ALPHA", "BETA"):
            self.wait(name)

    def wait(self, project: str) -> None:
        """One session in the prearchive of a project."""
        plan = SeriesPlan(source="MR", number=1, description="localizer", count=1)
        made = make_series(plan, project=project, subject="P1", session="P1_MR1", study_uid=f"2.25.{len(project)}",
                           date="20240102")  # fmt: skip
        given = {"import-handler": "DICOM-zip", "dest": f"/prearchive/projects/{project}", "inbody": "true"}
        headers = {"Content-Type": "application/zip"}
        answer = self.send("owner", "POST", "/data/services/import", params=given, data=zipped(list(made)),
                           headers=headers)  # fmt: skip
        assert answer.status_code == 200, answer.status_code

    def session(self, project: str, subject: str, label: str, kind: str, date: str = "2024-01-02",
                scans=None) -> None:  # fmt: skip
        """Make a session with scans and files."""
        stem = f"xnat:{kind}SessionData"
        path = f"/data/projects/{project}/subjects/{subject}/experiments/{label}"
        uid = f"2.25.{len(self._numbers) + 2001}"
        self._numbers[label] = self.put(f"{path}?xsiType={stem}&{stem}/date={date}&{stem}/UID={uid}").strip()
        for scan, (type_, files) in (scans or {}).items():
            self.put(f"{path}/scans/{scan}?xsiType=xnat:{kind}ScanData&type={type_}&series_description={type_}")
            for name in files:
                self.put(f"{path}/scans/{scan}/resources/DICOM/files/{name}?inbody=true&format=DICOM", data=bytes(9840))


@cache
def packed(kind: str) -> bytes:
    """The archives of the recording: three files in folders."""
    out = io.BytesIO()
    names = ("mr_1/1.dcm", "mr_1/sub dir/2.dcm", "mr_1/3.dcm")
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name in names[:2]:
                archive.writestr(name, bytes(200))
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo(names[2])
        info.size = 200
        archive.addfile(info, io.BytesIO(bytes(200)))
    return out.getvalue()


@cache
def _series(study: str, scan: int, source: str, count: int, subject: str, session: str) -> list[tuple[str, bytes]]:
    plan = SeriesPlan(source=source, number=scan, description=f"series{scan}", count=count)
    return list(make_series(plan, project="none", subject=subject, session=session, study_uid=make_uid(study),
                            date="20240102"))  # fmt: skip


def dicom(parts: list) -> bytes:
    """A zip like one of the recording: files ``[first, last]`` of a scan of a study, and texts by their names.

    ``number`` gives the series another number than its ``scan``, ``series`` another UID and other objects.
    """
    files: list[tuple[str, bytes]] = []
    for part in parts:
        if isinstance(part, str):
            files.append((part, b"no DICOM"))
            continue
        first, last = part["files"]
        names = part.get("subject", "HDR"), part.get("session", "HDR_1")
        made = _series(part["study"], part["scan"], part.get("source", "MR"), last, *names)[first - 1 :]
        for name, data in made:
            changes = {"SeriesNumber": part["number"]} if "number" in part else {}
            if "series" in part:
                changes |= {
                    "SeriesInstanceUID": make_uid(part["series"]),
                    "SOPInstanceUID": make_uid(part["series"], name),
                }
            changes |= part.get("headers", {})
            files.append((f"{part.get('number', part['scan'])}/{name}", changed(data, **changes) if changes else data))
    return zipped(files)


def _sent(case: dict) -> dict:
    """The body of an import as the recording sent it: raw zip, tar, one object, form data, without a length."""
    data, how = dicom(case["dicom"]), case.get("how", "zip")
    if how == "object":
        return {"data": zipfile.ZipFile(io.BytesIO(data)).read(zipfile.ZipFile(io.BytesIO(data)).namelist()[0]),
                "headers": {"Content-Type": "application/dicom"}}  # fmt: skip
    if how.startswith("tar"):
        data = _as_tar(data)
    if how.endswith("form"):
        return {"files": {"f": ("a.tar.gz" if how.startswith("tar") else "scan.zip", data)}}
    kind = {"Content-Type": "application/x-tar" if how.startswith("tar") else "application/zip"}
    return {"data": iter([data]) if how == "chunked" else data, "headers": kind}


def _as_tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed_, zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            info = tarfile.TarInfo(name)
            info.size = archive.getinfo(name).file_size
            packed_.addfile(info, io.BytesIO(archive.read(name)))
    return out.getvalue()


def _at_once(world: World, case: dict) -> list:
    """Imports at the same time: every status, and how many addresses were answered."""
    with ThreadPoolExecutor(len(case["at once"])) as pool:
        sent = [{**case, "path": case["path"].replace("{n}", str(number)), "dicom": parts}
                for number, parts in enumerate(case["at once"])]  # fmt: skip
        answers = list(pool.map(lambda one: world.send(one["as"], one["method"], one["path"], **_sent(one)), sent))
    there = {answer.text.strip() for answer in answers if answer.ok}
    return [sorted(answer.status_code for answer in answers), {"addresses": len(there)}]


def prepare(world: World, case: dict) -> None:
    """Do what was done before a recorded request, by hand or by requests that are recorded elsewhere."""
    status, _ = ask(world, {"shape": "", **case})
    assert status == case["expect"] if "expect" in case else status < 400, f"{case['before']}: {status}"


def ask(world: World, case: dict) -> list:
    """Send a recorded request again; [status, shape], without what was cut off when it was recorded.

    With ``wait`` it asks about what goes on in the background, and is sent until that is done.
    """
    if "code" in case:
        world.put(f"/data/projects/BETA/prearchive_code/{case['code']}")
    status, found = _ask(world, case)
    until = time.monotonic() + 20
    while case.get("wait") and [status, found] != [case["status"], case["shape"]] and time.monotonic() < until:
        time.sleep(0.1)
        status, found = _ask(world, case)
    if isinstance(found, dict) and isinstance(case["shape"], dict) and "beside" not in case["shape"]:
        found.pop("beside", None)
    return [status, found]


def _ask(world: World, case: dict) -> list:
    if "at once" in case:
        return _at_once(world, case)
    given: dict = {"headers": {}}
    body = case.get("body")
    if isinstance(body, dict):
        kind, value = next(iter(body.items()))
        if kind == "multipart":
            name, content = value
            data = packed(content) if content in ("zip", "tar.gz") else content.encode()
            given["files"] = {"file": (name, data)}
        elif kind == "archive":
            given["data"] = packed(value)
        elif kind == "bytes":
            given["data"] = bytes(value)
        elif kind == "chunked":
            given["data"] = iter([b"chunked body"])
        elif kind == "form":
            login, password = world.people["owner"]
            given["data"] = {"username": login, "password": password if value == "owner" else "wrong"}
    elif body is not None:
        given["data"] = body.encode()
    elif "dicom" in case:
        given |= _sent(case)
    given.setdefault("headers", {})
    given["headers"] |= {
        key: BROWSER if value == "browser" else value for key, value in case.get("headers", {}).items()
    }
    role = case["as"]
    if role in ("wrong password", "unknown user"):
        given["auth"] = (world.people["owner"][0] if role == "wrong password" else "nobody", "wrong")
        role = "anonymous"
    try:
        if case.keys() & {"keep", "cookie", "basic"}:
            answer = world.log_in(case)
        else:
            answer = world.send(role, case["method"], case["path"], **given)
    except requests.RequestException as problem:
        return [0, type(problem).__name__]
    world.memory.learn(answer, case.get("keep"))
    if case["method"] == "HEAD":
        return [answer.status_code, "nothing"]
    if isinstance(case["shape"], dict) and answer.ok:
        if "files of scans" in case["shape"]:
            scans = [row["URI"].split("/scans/")[1].split("/")[0] for row in answer.json()["ResultSet"]["Result"]]
            return [answer.status_code, {"files of scans": {scan: scans.count(scan) for scan in scans}}]
        if "address" in case["shape"]:
            address = re.sub(r"/\d{8}_\d{6,}/", "/{timestamp}/", answer.text.strip())
            return [answer.status_code, {"address": address}]
        if found := detail(case["shape"], answer):
            return [answer.status_code, found]
    if isinstance(case["shape"], dict) and "says" in case["shape"] and not answer.ok:
        return [answer.status_code, {"says": STAMP.sub("{timestamp}", html.unescape(message(answer)))}]
    return [answer.status_code, shape(answer.headers.get("Content-Type", ""), answer.content)]
