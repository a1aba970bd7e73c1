"""Sessions whose headers a test chooses, stored byte for byte in a project of its own."""

from __future__ import annotations

import itertools
import warnings

from planted import clean, written
from roads import as_

from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare

_numbers = itertools.count(1)


class Ward:
    """A source and a destination of the owner on a server that other tests use, too."""

    def __init__(self, person) -> None:
        self.who = person("owner")
        self.server = self.who.server
        number = next(_numbers)
        self.source, self.destination = f"WARD{number}", f"WARD{number}_DST"
        for project in (self.source, self.destination):
            self.who.put(f"/data/projects/{project}").raise_for_status()
            self.who.put(f"/data/projects/{project}/prearchive_code/0").raise_for_status()

    def store(self, subject: str, session: str, scans: dict[str, list], *, kind: str = "mr", study: str = "") -> None:
        """Put files of a session: scan to bytes or headers."""
        place = f"/data/projects/{self.source}/subjects/{subject}"
        self.who.put(place).raise_for_status()
        query = {"xsiType": f"xnat:{kind}SessionData", f"xnat:{kind}SessionData/UID": study or self.study(session)}
        query[f"xnat:{kind}SessionData/modality"] = kind.upper()
        self.who.put(f"{place}/experiments/{session}", params=query).raise_for_status()
        for scan, files in scans.items():
            at = f"{place}/experiments/{session}/scans/{scan}"
            more = {"xsiType": f"xnat:{kind}ScanData", f"xnat:{kind}ScanData/series_description": f"series {scan}"}
            more[f"xnat:{kind}ScanData/UID"] = f"{study or self.study(session)}.{scan}"
            self.who.put(at, params=more).raise_for_status()
            self.who.put(f"{at}/resources/DICOM", params={"format": "DICOM"}).raise_for_status()
            for number, file in enumerate(files, 1):
                data = file if isinstance(file, bytes) else written(file)
                where = f"{at}/resources/DICOM/files/{number:03d}.dcm"
                answer = self.who.put(where, params={"inbody": "true", "format": "DICOM"}, data=data)
                assert answer.status_code in (200, 201), answer.text

    def study(self, session: str) -> str:
        return f"2.25.77{self.source[4:]}{sum(map(ord, session))}"

    def header(self, subject: str, session: str, scan: int = 1, number: int = 1, **values):
        """A clean header that fits its place."""
        study = self.study(session)
        ds = clean(PatientName=subject, PatientID=session, StudyDescription=self.source, StudyInstanceUID=study)
        ds.SeriesInstanceUID, ds.SeriesNumber = f"{study}.{scan}", str(scan)
        ds.SOPInstanceUID, ds.InstanceNumber = f"{study}.{scan}.{number}", str(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, value in values.items():
                setattr(ds, name, value)
        return ds

    def series(self, subject: str, session: str, scan: int = 1, count: int = 3, **values) -> list:
        return [self.header(subject, session, scan, number, **values) for number in range(1, count + 1)]

    def options(self, **values) -> TransferOptions:
        names = {"source_project": self.source, "destination_project": self.destination}
        return TransferOptions.from_mapping({**names, **values})

    def plan(self, role: str = "owner", *, alone: bool = False, **values):
        """The plan with its review."""
        options = self.options(**values)
        with as_(self.server, role) as source, as_(self.server, role) as destination:
            return prepare(source, destination, options, alone=alone)


def told(made, *severities: str) -> set[str]:
    """The rules of a plan's findings, of these severities only."""
    return {one.rule for one in made.findings if not severities or one.severity in severities}
