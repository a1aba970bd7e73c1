"""Runs in the environment of pyxnat: selects, reads, makes and uploads, and prints what it saw as JSON."""

import json
import os
import sys
import tempfile

import pyxnat

SOURCE = "DEMO_SOURCE"


def read(central):
    project = central.select.project(SOURCE)
    first = project.subject("001").experiment("001_MR1")
    scan = first.scan("1")
    mr = central.array.mrsessions(project_id=SOURCE).data
    return {
        "projects": sorted(central.select.projects().get()),
        "subjects": sorted(subject.label() for subject in project.subjects()),
        "sessions": sorted(one.label() for one in central.select(f"/projects/{SOURCE}/subjects/*/experiments/*")),
        "exists": [project.exists(), first.exists(), project.subject("NOBODY").exists()],
        "attributes": [first.attrs.get("date"), first.datatype(), scan.attrs.get("type"), scan.datatype()],
        "scans": sorted(first.scans().get()),
        "files": [len(list(scan.resource("DICOM").files())), scan.resource("DICOM").label()],
        "mr": len(mr),
        "scans by array": len(central.array.mrscans(project_id=SOURCE).data),
        "users": sorted(project.users()),
        "role": project.user_role(os.environ["XNAT_LOGIN"]),
    }


def download(central, folder):
    resource = central.select.project(SOURCE).subject("001").experiment("001_MR1").scan("1").resource("DICOM")
    one = list(resource.files())[0]
    path = one.get_copy(os.path.join(folder, "one.dcm"))
    with open(path, "rb") as stream:
        data = stream.read()
    unpacked = resource.get(folder, extract=True)
    return {"size": [len(data), int(one.size())], "magic": data[128:132].decode(), "unpacked": len(unpacked)}


def write(central, folder):
    project = central.select.project("BY_PYXNAT")
    project.create()
    subject = project.subject("P1")
    subject.create(**{"subjects": "xnat:subjectData"})
    subject.attrs.set("gender", "female")
    session = subject.experiment("P1_MR1")
    session.create(experiments="xnat:mrSessionData")
    session.attrs.mset({"xnat:mrSessionData/date": "2024-02-03", "xnat:mrSessionData/note": "seen"})
    session.scan("3").create(scans="xnat:mrScanData")
    path = os.path.join(folder, "note.txt")
    with open(path, "w") as out:
        out.write("some text")
    resource = session.resource("TEXT")
    resource.file("a/note.txt").put(path, format="TXT", content="NOTE", overwrite=True)
    found = {
        "subject": [subject.exists(), subject.attrs.get("gender")],
        "session": session.attrs.mget(["xnat:mrSessionData/date", "xnat:mrSessionData/note"]),
        "scan": session.scan("3").datatype(),
        "files": [one.label() for one in resource.files()],
        "content": open(resource.file("a/note.txt").get()).read(),
    }
    assessor = session.assessor("P1_QC")
    assessor.create(assessors="xnat:qcManualAssessorData")
    assessor.out_resource("RESULT").file("out.txt").put("came out")
    assessor.in_resource("GIVEN").file("in.txt").put("went in")
    found["assessor"] = [
        [one.label() for one in resources] for resources in (assessor.in_resources(), assessor.out_resources())
    ]
    shares = []
    subject.share("DEMO_DESTINATION")
    shares.append(sorted(subject.shares().get()))
    subject.unshare("DEMO_DESTINATION")
    shares.append(sorted(subject.shares().get()))
    found["shares"] = shares
    resource.file("a/note.txt").delete()
    session.delete()
    found["left"] = session.exists()
    return found


def main():
    central = pyxnat.Interface(
        server=os.environ["XNAT_ADDRESS"], user=os.environ["XNAT_LOGIN"], password=os.environ["XNAT_WORD"]
    )
    with tempfile.TemporaryDirectory() as folder:
        found = {"read": read(central), "download": download(central, folder), "write": write(central, folder)}
    central.disconnect()
    json.dump(found, sys.stdout)


main()
