"""Headers as a table, and the fault that answers with another session's (live 1.7.2 and 1.7.6, fact 6; R24)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.uid import generate_uid

from xnbtransfer.server.demo_files import SeriesPlan, make_series


@pytest.fixture
def two(study):
    """Two sessions with one DICOM file each; the StudyInstanceUID of both by label."""
    found = {}
    for label in ("S01_MR1", "S01_MR2"):
        found[label] = generate_uid()
        plan = SeriesPlan(source="MR", number=1, description="localizer", count=1)
        (made,) = make_series(plan, project="p", subject="s", session=label, study_uid=found[label], date="20240102")
        study.upload(f"experiments/{label}/scans/1/resources/HEAD/files/{made[0]}", made[1], format="DICOM")
    yield study, found
    study.owner.server.faults([])


def told(study, label: str) -> list[str]:
    src = f"/archive/experiments/{study.ids[label]}/scans/1/resources/HEAD"
    rows = study.owner.rows("/data/services/dicomdump", src=src, field="StudyInstanceUID")
    return [row["value"] for row in rows]


def test_a_dump_is_of_the_scan_that_was_asked(two):
    study, found = two
    assert told(study, "S01_MR1") == [found["S01_MR1"]]
    src = f"/archive/experiments/{study.ids['S01_MR1']}/scans/NOTTHERE"
    assert study.owner.rows("/data/services/dicomdump", src=src) == []


def test_with_the_fault_it_is_of_another_session_by_chance(two):
    study, found = two
    study.owner.server.faults([{"fault": "other-header", "probability": 0.5, "seed": 3}])
    answers = [told(study, "S01_MR1") for _ in range(20)]
    assert [found["S01_MR1"]] in answers
    assert any(one and one != [found["S01_MR1"]] for one in answers)
    study.owner.server.faults([{"fault": "other-header", "share": 1}])
    assert told(study, "S01_MR1") == []


def test_one_at_a_time_is_right_where_the_fault_wants_several(two):
    study, found = two
    study.owner.server.faults([{"fault": "other-header", "at_once": 2}])
    assert all(told(study, "S01_MR2") == [found["S01_MR2"]] for _ in range(5))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: told(study, "S01_MR2"), range(60)))
    assert any(one != [found["S01_MR2"]] for one in answers)
