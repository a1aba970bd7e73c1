"""Runs in the environment of xnatpy: uses its object model as its users do, and prints what it saw as JSON."""

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
import time
import zipfile

import xnat

SOURCE, DESTINATION = "DEMO_SOURCE", "DEMO_DESTINATION"


def md5(data):
    return hashlib.md5(data).hexdigest()


def model(session):
    project = session.projects[SOURCE]
    first = project.experiments["001_MR1"]
    return {
        "version": session.xnat_version,
        "user": session.logged_in_user,
        "projects": sorted(session.projects.key_map),
        "subjects": sorted(subject.label for subject in project.subjects.values()),
        "sessions": {one.label: type(one).__name__ for one in project.experiments.values()},
        "fields": [str(first.date), first.modality, first.uid, first.subject.label, first.project],
        "scans": {scan.id: [type(scan).__name__, scan.type, scan.quality] for scan in first.scans.values()},
        "resources": {r.label: [len(r.files), r.file_count, r.file_size] for r in first.scans["1"].resources.values()},
        "results": sorted(resource.label for resource in first.resources.values()),
        "table": sorted([row.label, row.modality] for row in project.experiments.tabulate(["label", "modality"])),
        "users": sorted(project.users),
        "roles": {name: str(role) for name, role in session.access_levels.items()},
    }


def downloads(session, folder):
    first = session.projects[SOURCE].experiments["001_MR1"]
    file = next(iter(first.scans["1"].files.values()))
    path = os.path.join(folder, "one.dcm")
    file.download(path, verbose=False)
    zipped = os.path.join(folder, "scan.zip")
    first.scans["1"].download(zipped, verbose=False)
    first.download_dir(folder, verbose=False)
    found = []
    for base, _, names in os.walk(os.path.join(folder, first.label)):
        found += [md5(open(os.path.join(base, name), "rb").read()) for name in names]
    with zipfile.ZipFile(zipped) as archive:
        members = [md5(archive.read(name)) for name in archive.namelist()]
    with file.open() as stream:
        head = stream.read(132)[128:].decode()
    return {
        "file": [md5(open(path, "rb").read()), file.digest, int(file.size)],
        "scan": sorted(members),
        "session": sorted(found),
        "magic": head,
    }


def uploads(session, folder):
    classes = session.classes
    project = classes.ProjectData(parent=session, id_="BY_XNATPY", name="By xnatpy")
    subject = classes.SubjectData(parent=project, label="S1")
    subject.demographics.gender = "female"
    made = classes.MrSessionData(parent=subject, label="S1_MR1")
    made.note, made.fields["colour"] = "seen", "blue"
    scan = classes.MrScanData(parent=made, id="7", type="T1")
    scan.series_description = "a scan"
    resource = scan.create_resource("TEXT")
    resource.upload_data("some text", "a/note.txt")
    inside = os.path.join(folder, "tree", "sub")
    os.makedirs(inside)
    for name in ("x.txt", "sub/y.txt"):
        with open(os.path.join(folder, "tree", name), "w") as out:
            out.write(name)
    made.create_resource("TREE", data_dir=os.path.join(folder, "tree"))
    for one in (project, subject, made, scan):
        one.clearcache()
    gone = made.create_resource("GONE")
    gone.upload_data("some text", "note.txt")
    files = gone.files
    listed = len(files)
    files.clearcache()  # who holds an old list has xnatpy ask for it once more
    gone.delete()
    made.clearcache()
    return {
        "deleted": [listed, "GONE" in made.resources],
        "subject": [subject.label, subject.demographics.gender],
        "session": [made.label, made.note, made.fields["colour"], made.id in session.experiments],
        "scan": [scan.id, scan.type, scan.series_description],
        "text": resource.files["a/note.txt"].open().read().decode() if "a/note.txt" in resource.files else "",
        "tree": sorted(file.path for file in made.resources["TREE"].files.values()),
    }


def zipped_scan(session, label, scan):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in session.projects[SOURCE].experiments[label].scans[scan].files.values():
            stream = io.BytesIO()
            file.download_stream(stream)
            archive.writestr(file.id, stream.getvalue())
    out.seek(0)
    return out


def imports(session):
    found = session.services.import_(
        data=zipped_scan(session, "001_MR1", "1"),
        project="BY_XNATPY",
        subject="I1",
        experiment="I1_MR1",
        content_type="application/zip",
        import_handler="DICOM-zip",
        destination="/archive",
    )
    count = len(found.scans["1"].files)
    refused = ""
    try:
        session.services.import_(
            data=zipped_scan(session, "001_MR1", "1"),
            project="BY_XNATPY",
            subject="I1",
            experiment="I1_MR1",
            content_type="application/zip",
            import_handler="DICOM-zip",
            destination="/archive",
            overwrite="append",
        )
    except xnat.exceptions.XNATUploadError as problem:
        refused = type(problem).__name__
    return {"session": [found.label, found.subject.label, type(found).__name__], "files": count, "refused": refused}


def waiting(session, label, project="BY_XNATPY"):
    return [row for row in session.prearchive.sessions(project=project) if row.label == label]


def until(true):
    """Wait for it. A row is listed, and then read by its address: in between it may be gone, and xnatpy finds none."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(IndexError):
            if true():
                return
        time.sleep(0.1)


def prearchive(session):
    found = {}
    row = session.services.import_(
        data=zipped_scan(session, "002_MR1", "1"),
        project="BY_XNATPY",
        subject="P1",
        experiment="P1_MR1",
        content_type="application/zip",
        import_handler="DICOM-zip",
        destination="/prearchive",
    )
    found["row"] = [row.label, row.subject, row.project, row.status]
    found["scans"] = [[scan.id, len(scan.resources[0].files)] for scan in row.scans]
    row.download(os.devnull)
    row.rebuild()
    until(lambda: [one.status for one in waiting(session, "P1_MR1")] == ["READY"])
    archived = waiting(session, "P1_MR1")[0].archive(project="BY_XNATPY", subject="P1", experiment="P1_MR1")
    found["archived"] = [archived.label, len(archived.scans)]
    again = session.services.import_(
        data=zipped_scan(session, "002_MR1", "1"),
        project="BY_XNATPY",
        subject="P2",
        experiment="P2_MR1",
        content_type="application/zip",
        import_handler="DICOM-zip",
        destination="/prearchive",
    )
    found["waiting"] = [one.label for one in session.prearchive.sessions(project="BY_XNATPY")]
    again.move(DESTINATION)
    until(lambda: not waiting(session, "P2_MR1"))
    moved = waiting(session, "P2_MR1", DESTINATION)
    found["moved"] = len(moved)
    moved[0].delete()
    until(lambda: not waiting(session, "P2_MR1", DESTINATION))
    found["left"] = [one.label for one in session.prearchive.sessions(project="BY_XNATPY")]
    return found


def sharing(session):
    session.clearcache()
    project = session.projects["BY_XNATPY"]
    subject, made = project.subjects["S1"], project.experiments["S1_MR1"]
    subject.share(DESTINATION, label="SHARED")
    made.share(DESTINATION, label="SHARED_MR1")
    session.clearcache()
    there = session.projects[DESTINATION]
    seen = there.experiments["SHARED_MR1"]
    found = {
        "there": [seen.id == made.id, "SHARED" in there.subjects],
        "sharing": [[share.project, share.label] for share in made.sharing.values()],
    }
    made.label = "RENAMED"
    session.clearcache()
    found["renamed"] = "RENAMED" in session.projects["BY_XNATPY"].experiments
    session.projects["BY_XNATPY"].experiments["RENAMED"].delete()
    session.clearcache()
    found["deleted"] = "RENAMED" not in session.projects["BY_XNATPY"].experiments
    return found


def main():
    with (
        tempfile.TemporaryDirectory() as folder,
        xnat.connect(
            os.environ["XNAT_ADDRESS"], user=os.environ["XNAT_LOGIN"], password=os.environ["XNAT_WORD"]
        ) as session,
    ):
        found = {
            "model": model(session),
            "downloads": downloads(session, folder),
            "uploads": uploads(session, folder),
            "imports": imports(session),
            "prearchive": prearchive(session),
            "sharing": sharing(session),
        }
    json.dump(found, sys.stdout)


main()
