"""Runs in the environment of xnat4tests: uploads a scan of the demonstration with its own code, which wants a server
whose administrator is admin/admin, so it is given another login; prints what the server holds then, as JSON."""

import io
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import xnat
import xnat4tests.data

SOURCE, PROJECT = "DEMO_SOURCE", "X4T"


def connect(config_name="default"):
    return xnat.connect(os.environ["XNAT_ADDRESS"], user=os.environ["XNAT_LOGIN"], password=os.environ["XNAT_WORD"])


def main():
    xnat4tests.data.connect = connect
    folder = Path(tempfile.mkdtemp())
    with connect() as session:
        asked = session.get(
            f"/data/projects/{SOURCE}/subjects/001/experiments/001_MR1/scans/1/files", query={"format": "zip"}
        )
        with zipfile.ZipFile(io.BytesIO(asked.content)) as found:
            names = [name for name in found.namelist() if name.endswith(".dcm")]
            for name in names:
                (folder / Path(name).name).write_bytes(found.read(name))
    for label, direct in (("S1_MR1", True), ("S1_MR2", False)):
        xnat4tests.data._upload_dicom_data(folder, {}, PROJECT, "S1", label, direct_archive=direct)
    with connect() as session:
        sessions = session.projects[PROJECT].experiments.values()
        told = {
            "sent": len(names),
            "sessions": {one.label: {scan.id: len(scan.files) for scan in one.scans.values()} for one in sessions},
        }
    json.dump(told, sys.stdout)


main()
