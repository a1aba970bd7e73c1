"""A project to break things in."""

from __future__ import annotations

import itertools

import pytest

_NUMBERS = itertools.count(1)


class Study:
    """A fresh private project with the three roles, one subject, two MR sessions and a CT session, and some files."""

    def __init__(self, person, name: str) -> None:
        self.name, self.person, self.owner = name, person, person("owner")
        assert self.owner.put(f"/data/projects/{name}").status_code == 200
        for role, group in (("member", "Members"), ("collaborator", "Collaborators")):
            path = f"/data/projects/{name}/users/{group}/{person(role).login}"
            assert self.owner.put(path).status_code == 200
        self.ids = {
            "S01_MR1": self.session("S01", "S01_MR1", "mr", UID="1.2.3.1", date="2018-07-03"),
            "S01_MR2": self.session("S01", "S01_MR2", "mr", UID="1.2.3.2", date="2018-08-03"),
            "S01_CT1": self.session("S01", "S01_CT1", "ct", UID="2.25.3", date="2018-07-10"),
        }
        self.scan("S01_MR1", "1", "mr", "localizer")
        self.scan("S01_MR1", "2", "mr", "T1 (axial)")
        self.scan("S01_MR2", "1", "mr", "localizer")
        self.scan("S01_CT1", "1", "ct", "topogram")
        for session, scan, path in (
            ("S01_MR1", "1", "a.dcm"),
            ("S01_MR1", "1", "b.dcm"),
            ("S01_MR1", "2", "deep/c.dcm"),
            ("S01_MR2", "1", "a.dcm"),
        ):
            self.upload(f"experiments/{session}/scans/{scan}/resources/DICOM/files/{path}", self.content(session, path))

    @staticmethod
    def content(session: str, path: str) -> bytes:
        return f"{session} {path}".encode() * 20

    @property
    def path(self) -> str:
        return f"/data/projects/{self.name}"

    def session(self, subject: str, label: str, kind: str, **fields: str) -> str:
        given = {"xsiType": f"xnat:{kind}SessionData", "modality": kind.upper(), **fields}
        answer = self.owner.put(f"{self.path}/subjects/{subject}/experiments/{label}", params=given)
        assert answer.status_code == 201, answer.text
        return answer.text

    def scan(self, session: str, scan: str, kind: str, type_: str) -> None:
        given = {"xsiType": f"xnat:{kind}ScanData", "type": type_, "series_description": type_, "quality": "usable"}
        answer = self.owner.put(f"{self.path}/experiments/{session}/scans/{scan}", params=given)
        assert answer.status_code == 200, answer.text

    def upload(self, path: str, stored: bytes, who=None, **params: str):
        headers = {"Content-Type": "application/octet-stream"}
        return (who or self.owner).put(f"{self.path}/{path}", data=stored, headers=headers, params=params)


@pytest.fixture
def study(person) -> Study:
    return Study(person, f"CORE_{next(_NUMBERS)}")


@pytest.fixture(scope="module")
def seen(person) -> Study:
    """A study that tests of one module only read."""
    return Study(person, f"READ_{next(_NUMBERS)}")
