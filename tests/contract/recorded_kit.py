"""Answers of a live XNAT 1.6.4, asked again of the embedded server: a world as it was, requests, shapes of answers."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import requests
from contract_kit import BROWSER, changed, zipped

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


def shape(content_type: str, body: bytes) -> object:
    """What kind of answer a body is: the keys of a table, the type of an item, the entries of a zip, a short text."""
    if body[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return {"zip": sorted(name for name in archive.namelist() if not name.endswith("/"))}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "bytes"
    if "\0" in text:
        return "bytes"
    if not text.strip():
        return "nothing"
    if "<h3>" in text:
        return "page"
    if text.lstrip()[:1] == "{":
        return _json_shape(json.loads(text))
    if text.lstrip()[:1] == "<":
        return _xml_shape(text)
    if "csv" in content_type:
        return {"csv": sorted(next(csv.reader([text.splitlines()[0]])))}
    return _text_shape(text)


def _json_shape(found: dict) -> object:
    if "ResultSet" in found:
        rows = found["ResultSet"]["Result"]
        keys = {re.sub(r"_\d+$", "_{user}", key) for key in (rows[0] if rows else ())}
        return {"table": sorted(keys), "beside": sorted(set(found["ResultSet"]) - {"Result"})}
    if "items" in found:
        kind = found["items"][0]["meta"]["xsi:type"]
        return {"item": "session" if kind.endswith("SessionData") else kind}
    return {"json": sorted(found)}


def _xml_shape(text: str) -> object:
    if "<html" in text[:200].lower():
        return "html"
    root = ElementTree.fromstring(text.encode())
    return {"xml": root.tag.rpartition("}")[2]}


def _text_shape(text: str) -> object:
    line = text.strip()
    if re.fullmatch(r"\w+_[SE]\d{5,}", line):
        return "accession number"
    return {"text": line} if re.fullmatch(r"[\w.]{1,20}", line) else "text"


class World:
    """The embedded server with what the live one held when it was asked."""

    def __init__(self, server) -> None:
        self.server = server
        self._numbers: dict[str, str] = {}
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
        for label in re.findall(r"\{(\w+)\}", path):
            path = path.replace("{" + label + "}", self.number(label))
        for who, (login, _) in self.people.items():
            path = path.replace("{login " + who + "}", login)
        return self._http[role].request(method, self.server.url + path, **given)

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
            files.append((f"{part.get('number', part['scan'])}/{name}", changed(data, **changes) if changes else data))
    return zipped(files)


def ask(world: World, case: dict) -> list:
    """Send a recorded request again; [status, shape], without what was cut off when it was recorded."""
    if "code" in case:
        world.put(f"/data/projects/BETA/prearchive_code/{case['code']}")
    status, found = _ask(world, case)
    if isinstance(found, dict) and isinstance(case["shape"], dict) and "beside" not in case["shape"]:
        found.pop("beside", None)
    return [status, found]


def _ask(world: World, case: dict) -> list:
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
        given["data"], given["headers"] = dicom(case["dicom"]), {"Content-Type": "application/zip"}
    given["headers"] |= {
        key: BROWSER if value == "browser" else value for key, value in case.get("headers", {}).items()
    }
    role = case["as"]
    if role in ("wrong password", "unknown user"):
        given["auth"] = (world.people["owner"][0] if role == "wrong password" else "nobody", "wrong")
        role = "anonymous"
    try:
        answer = world.send(role, case["method"], case["path"], **given)
    except requests.RequestException as problem:
        return [0, type(problem).__name__]
    if case["method"] == "HEAD":
        return [answer.status_code, "nothing"]
    if isinstance(case["shape"], dict) and answer.ok:
        if "files of scans" in case["shape"]:
            scans = [row["URI"].split("/scans/")[1].split("/")[0] for row in answer.json()["ResultSet"]["Result"]]
            return [answer.status_code, {"files of scans": {scan: scans.count(scan) for scan in scans}}]
        if "address" in case["shape"]:
            address = re.sub(r"/\d{8}_\d{6,}/", "/{timestamp}/", answer.text.strip())
            return [answer.status_code, {"address": address}]
    return [answer.status_code, shape(answer.headers.get("Content-Type", ""), answer.content)]
