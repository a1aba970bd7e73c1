"""xnat4tests: its upload, an import with `dest` in the archive, with `Direct-Archive` and without."""

from __future__ import annotations

import pytest
from client_kit import Reader, drive, unknown

pytestmark = [
    pytest.mark.other_client,
    pytest.mark.needs("1.8", because="it uploads with Direct-Archive, which XNAT has since 1.8.3"),
]


def test_what_it_uploads_is_in_the_archive(client, source, tmp_path):
    seen = drive(client("xnat4tests"), "drive_xnat4tests.py", source, tmp_path)
    assert seen["sent"] > 1
    assert seen["sessions"] == {label: {"1": seen["sent"]} for label in ("S1_MR1", "S1_MR2")}
    assert Reader(source).rows("/data/prearchive/projects/X4T") == []
    assert unknown(source) == []
