"""Runs in the environment of xnatutils: lists, puts and gets with its functions, and prints what it saw as JSON."""

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import xnatutils

SOURCE, PROJECT, SUBJECT, SESSION = "DEMO_SOURCE", "XU", "XU_S1", "XU_S1_MR1"


def main():
    here = {"server": os.environ["XNAT_ADDRESS"], "user": os.environ["XNAT_LOGIN"], "use_netrc": False,
            "password": os.environ["XNAT_WORD"]}  # fmt: skip
    folder = Path(tempfile.mkdtemp())
    with contextlib.redirect_stdout(io.StringIO()), xnatutils.connect(**here) as session:
        session.put(f"/data/projects/{PROJECT}")
        session.put(f"/data/projects/{PROJECT}/subjects/{SUBJECT}")
        session.clearcache()
        image = folder / "sent" / "image.nii.gz"  # a folder: single files it sends as symbolic links in a tar
        image.parent.mkdir()
        image.write_bytes(b"no real image, but the bytes count" * 9)
        xnatutils.put(SESSION, "mask", str(image.parent), create_session=True, project_id=PROJECT, subject_id=SUBJECT,
                      resource_name="NIFTI_GZ", modality="MR", connection=session)  # fmt: skip
        session.clearcache()
        told = {
            "projects": sorted(xnatutils.ls(datatype="project", connection=session)),
            "sessions": sorted(xnatutils.ls(".*", datatype="session", project_id=SOURCE, connection=session)),
            "put": sorted(xnatutils.ls(".*", datatype="session", project_id=PROJECT, connection=session)),
        }
        target = folder / "got"
        target.mkdir()
        xnatutils.get(["001_MR1"], str(target), project_id=SOURCE, scans=["localizer"], connection=session)
        told["got"] = sorted(path.name for path in target.rglob("*.dcm"))
        again = folder / "again"
        again.mkdir()
        xnatutils.get([SESSION], str(again), project_id=PROJECT, connection=session)
        told["same"] = [path.read_bytes() == image.read_bytes() for path in again.rglob("*.nii.gz")]
    json.dump(told, sys.stdout)


main()
