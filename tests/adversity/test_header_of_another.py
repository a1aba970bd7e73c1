"""The header that is reviewed is that scan's, though one answer in ten is another session's."""

from __future__ import annotations

import pytest
from adversity_kit import chance, told, tries
from reviews import Ward

NAMES = ("Mustermann^Erika", "Sample^Otto")


@pytest.fixture
def ward(person):
    found = Ward(person)
    yield found
    found.server.faults([])


def test_no_header_of_another_scan_is_reviewed(ward):
    """Each try reviews all scans anew; half of the subjects have a name in their headers, the others have none."""
    draw, often = chance(), tries(4)
    for number in range(4):
        subject, session = f"{number:03d}", f"{number:03d}_MR1"
        more = {"PatientName": NAMES[number // 2]} if number % 2 else {}
        scans = {str(scan): ward.series(subject, session, scan, 1, **more) for scan in (1, 2, 3)}
        ward.store(subject, session, scans)

    def seen() -> set[tuple[str, str, str, str]]:
        return {(one.rule, one.subject, one.session, one.scan) for one in ward.plan().findings if one.rule != "L01"}

    right, missed, tried = seen(), [], 0
    for _ in range(often):
        rule = {"fault": "other-header", "path": "/data/services/dicomdump", "probability": 0.1}
        ward.server.faults([{**rule, "seed": draw.randrange(1 << 30)}])
        found = seen()
        tried += 12
        missed += sorted(found ^ right)
    told("a header of another scan (wrong findings, missed identities)", tried, missed)


def test_where_each_answer_is_anothers_the_file_itself_is_read(ward):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", 1, 1, PatientName=NAMES[0])})
    ward.store("002", "002_MR1", {"1": ward.series("002", "002_MR1", 1, 1)})
    ward.server.faults([{"fault": "other-header", "path": "/data/services/dicomdump"}])
    found = {(one.rule, one.subject) for one in ward.plan().findings}
    assert {subject for rule, subject in found if rule == "D01"} == {"001"}
    assert not {rule for rule, _ in found} & {"L03"}
