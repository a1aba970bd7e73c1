"""What the tests of clients share: running one, and what two servers hold."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pydicom
import requests
from people import with_digests

HERE = Path(__file__).parent
SOURCE = "DEMO_SOURCE"
SESSIONS = {"001_MR1", "001_MR2", "002_MR1", "003_CT1", "004_PET1", "005_MR1", "006_CT1", "007_MR1", "007_PET1"}


def run(words: list[str | Path], folder: Path, *, said: str = "", **environment: str) -> str:
    """Run a client away from this process's environment; what it printed.

    ``said`` is what it reads, also where it asks for a password: it has no terminal.
    """
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run([str(word) for word in words], env={**kept, "HOME": str(folder), **environment}, input=said,
                          capture_output=True, text=True, timeout=300, cwd=folder, start_new_session=True)  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def drive(commands: Path, script: str, server, folder: Path) -> dict:
    """Run one of the scripts beside this file with a client's own Python; the JSON that it printed."""
    login, password = server.accounts["owner"]
    told = {"XNAT_ADDRESS": server.url, "XNAT_LOGIN": login, "XNAT_WORD": password}
    return json.loads(run([commands / "python", HERE / script], folder, **told))


def unknown(server) -> list[str]:
    """Addresses that a client asked for and that this server does not imitate."""
    return sorted({f"{entry['method']} {entry['path']}" for entry in server.log() if not entry["imitated"]})


class Reader:
    """The owner, looking at what a project holds."""

    def __init__(self, server) -> None:
        self.server, self.http = server, requests.Session()
        self.http.auth = server.accounts["owner"]

    def rows(self, path: str, **params: str) -> list[dict]:
        answer = self.http.get(self.server.url + path, params={"format": "json", **params}, timeout=60)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.json()["ResultSet"]["Result"]

    def put(self, path: str, **params: str) -> None:
        assert self.http.put(self.server.url + path, params=params, timeout=60).status_code in (200, 201), path

    def sessions(self, project: str) -> dict[str, str]:
        """Label to accession number."""
        rows = self.rows(f"/data/projects/{project}/experiments", columns="ID,label")
        return {row["label"]: row["ID"] for row in rows}

    def files(self, project: str) -> dict[tuple[str, ...], str]:
        """MD5 by session, scan (empty for results), resource and path."""
        found = {}
        for label, accession in self.sessions(project).items():
            rows = self.rows(f"/data/experiments/{accession}/files", all="true")
            for row in with_digests(rows, lambda uri: self.http.get(self.server.url + uri, timeout=60)):
                address, _, path = row["URI"].partition("/files/")
                scan = address.split("/scans/")[1].split("/")[0] if "/scans/" in address else ""
                found[(label, scan, row["collection"], path)] = row["digest"]
        return found

    def images(self, project: str) -> dict[tuple[str, str, str], str]:
        """Digest of the pixels by session, scan and SOPInstanceUID."""
        found = {}
        for label, accession in self.sessions(project).items():
            path = f"/data/experiments/{accession}/scans/ALL/files"
            params = {"format": "zip", "structure": "simplified"}
            answer = self.http.get(self.server.url + path, params=params, timeout=60)
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                for name in archive.namelist():
                    image = pydicom.dcmread(io.BytesIO(archive.read(name)))
                    pixels = hashlib.sha256(image.PixelData).hexdigest()
                    found[(label, name.split("/")[2], str(image.SOPInstanceUID))] = pixels
        return found


def results(files: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Those of the files that belong to a session and not to a scan."""
    return {key: value for key, value in files.items() if not key[1]}
