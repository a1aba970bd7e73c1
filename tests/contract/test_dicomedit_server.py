"""The embedded server's engines against the recorded ones: outcome, file and echo to the byte, older releases too.

A sample goes the whole way over HTTP: script set, file imported and archived, read back.
"""

from __future__ import annotations

import io
import re
import zipfile

import httpx
import pytest
from dicomedit_kit import OLDER, differences, differences_of_older, flat, of_older, part10, read, recorded, subject
from dicomedit_table import BEGIN, DOCUMENT, END, table

from xnbtransfer.server import running
from xnbtransfer.server.dicomedit.run import End, Outcome, run

CASES = [(name, case) for name in ("cases-6", "cases-4") for case in recorded(name)]
SUBJECTS = sorted({(name, subject(case)) for name, case in CASES})
DRAWN = re.compile(rb"[\d.]+\.\d{30,}\0?")
"""A UID that ends in a number drawn at random."""


def carried_out(case: dict, data: bytes, release: str = "6.6") -> Outcome:
    """What the engine makes of a case, its second script included."""
    how = {"release": release, "keeps_all": case.get("rejection_ignored", False)}
    outcome = Outcome(end=End.DONE, data=data)
    for one in (case, case.get("then")):
        if one is not None and outcome.end is End.DONE:
            script = re.sub(r'(?m)^version "6\.6"', f'version "{release}"', one["script"])
            number = one.get("recorded_as", 0)
            outcome = run(script, [outcome.data], case["variables"], script_id=number, **how)[0]
    return outcome


def told(case: dict) -> str:
    """How the server's engine differs from XNAT's, "" where it does not."""
    data = part10(case["input"])
    outcome = carried_out(case, data)
    lines = []
    if outcome.end.value != case["outcome"]:
        lines = [f"{case['outcome']} expected, {outcome.end.value} ({outcome.error}) found"]
    elif outcome.end is End.DONE:
        lines = differences(case, outcome.data)
    elif outcome.data != (data if case["file_after"] == "unchanged" else b""):
        lines = [f"the file should be {case['file_after']}"]
    if outcome.echoed != case.get("echo", ""):
        lines.append(f"echo {outcome.echoed!r}")
    return f"{case['id']}: {'; '.join(lines)}" if lines else ""


@pytest.mark.parametrize(("name", "about"), SUBJECTS, ids=lambda part: part)
def test_the_server_does_what_the_engine_did(name, about):
    wrong = [line for where, case in CASES if where == name and subject(case) == about and (line := told(case))]
    assert not wrong, "\n".join(wrong)


def told_of_older(case: dict, release: str) -> str:
    """How the server's engine of an older release differs from it, "" where it does not."""
    expected = of_older(case, release)
    outcome = carried_out(case, part10(case["input"]), release)
    lines = []
    if outcome.end.value != expected["outcome"]:
        lines = [f"{expected['outcome']} expected, {outcome.end.value} ({outcome.error}) found"]
    elif outcome.end is End.DONE:
        lines = differences_of_older(case, release, outcome.data)
    return f"{case['id']}: {'; '.join(lines)}" if lines else ""


@pytest.mark.parametrize("release", OLDER)
def test_the_server_does_what_older_engines_did(release):
    cases = [one for one in recorded("cases-6") if one["script"].startswith("version") and subject(one) != "version"]
    wrong = [line for case in cases if (line := told_of_older(case, release))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("batch", recorded("batches"), ids=lambda batch: batch["what"])
def test_a_run_over_many_files_keeps_what_the_engine_keeps(batch):
    files = [part10(file["input"]) for file in batch["files"]]
    outcomes = run(batch["script"], files, batch["variables"], script_id=batch.get("recorded_as", 0))
    assert [outcome.end.value for outcome in outcomes] == [file["outcome"] for file in batch["files"]]
    drawn: dict[bytes, bytes] = {}
    for file, outcome in zip(batch["files"], outcomes, strict=True):
        if outcome.end is End.DONE:
            new = flat(file["output"]["elements"], file["output"]["transfer_syntax"])
            found = flat(read(outcome.data)["elements"], file["output"]["transfer_syntax"])
            random = {path for path in new.keys() & found.keys() if DRAWN.fullmatch(new[path][1])}
            assert differences(file | {"random": random}, outcome.data) == []
            for path in random:
                assert drawn.setdefault(new[path][1], found[path][1]) == found[path][1], path
    assert len(set(drawn.values())) == len(drawn)


def test_the_table_in_the_documents_counts_the_recorded_cases():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table().strip()


# Over HTTP -----------------------------------------------------------------------------------------------------------


def sample() -> list[dict]:
    """One case of each subject that is carried out over an importable file with the usual labels."""
    found: dict[tuple[str, str], dict] = {}
    usual = {"project": "PRJ", "subject": "SUBJ01", "session": "SESS01"}
    for name, case in CASES:
        if case["outcome"] == "done" and case["variables"] == usual and not case.get("then") and case["script"]:
            told = {tag for tag, _, _ in case["input"]["elements"]}
            if {"00080016", "00080018", "0020000D", "0020000E"} <= told and not case["input"].get("no_file_meta"):
                found.setdefault((name, subject(case)), case)
    return list(found.values())


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    with (
        running(tmp_path_factory.mktemp("engine")) as server,
        httpx.Client(base_url=server.url, auth=server.accounts["admin"], timeout=60) as client,
    ):
        switch = client.post("/xapi/siteConfig", json={"enableSitewideAnonymizationScript": "false"})
        assert switch.status_code == 200
        assert client.put("/data/projects/PRJ").status_code in (200, 201)
        yield client


@pytest.mark.parametrize("case", sample(), ids=lambda case: case["id"])
def test_a_script_set_over_http_leaves_the_file_that_the_engine_left(owner, case):
    body = case["script"].encode()
    plain = {"Content-Type": "text/plain"}
    assert owner.put("/xapi/anonymize/projects/PRJ", content=body, headers=plain).status_code == 200
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.dcm", part10(case["input"]))
    where = {"inbody": "true", "import-handler": "DICOM-zip", "dest": "/archive/projects/PRJ",
             "subject": "SUBJ01", "session": "SESS01", "overwrite": "delete"}
    sent = owner.post("/data/services/import", params=where, content=out.getvalue(),
                      headers={"Content-Type": "application/zip"})
    assert sent.status_code == 200, sent.text
    session = "/data/projects/PRJ/subjects/SUBJ01/experiments/SESS01"
    try:
        zipped = owner.get(f"{session}/scans/ALL/files", params={"format": "zip"})
        with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dcm")]
            found = archive.read(name)
    finally:
        assert owner.delete(session, params={"removeFiles": "true"}).status_code == 200
    wrong = [line for line in differences(case, found) if not line.startswith("00120064")]
    assert not wrong
    assert flat(read(found)["elements"])["00120064"][1] == b"1"
