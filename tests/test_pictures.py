"""Pictures: a PNG with a title, units, and a text that says the same."""

from __future__ import annotations

import io
import struct
import zlib

import pandas as pd
import pytest

from xnbtransfer import pictures
from xnbtransfer.diff import Diff, diff
from xnbtransfer.inventory import read_inventory
from xnbtransfer.values import MANIFEST_COLUMNS, OUTCOME_COLUMNS, Result, frame


@pytest.fixture(scope="module")
def both(demo_xnat):
    from roads import DESTINATION, SOURCE, as_

    with as_(demo_xnat) as connection:
        return read_inventory(connection, SOURCE), read_inventory(connection, DESTINATION)


def result(**counts: int) -> Result:
    names = {"equal": "equal", "explained": "changed as explained", "different": "different"}
    names["not_proved"] = "cannot be proved"
    files = [{"subject": "1", "session": "A", "verdict": names[word]} for word, n in counts.items() for _ in range(n)]
    rows = [{"subject": "1", "session": name, "state": "archived", "files": len(files), **counts} for name in "AB"]
    return Result(
        sessions=frame(rows, OUTCOME_COLUMNS),
        files=frame(files, MANIFEST_COLUMNS),
        extra=pd.DataFrame(),
        started_at="",
        finished_at="",
    )


def chunks(png: bytes) -> dict[bytes, bytes]:
    stream = io.BytesIO(png)
    assert stream.read(8) == b"\x89PNG\r\n\x1a\n"
    found: dict[bytes, bytes] = {}
    while head := stream.read(8):
        length, kind = struct.unpack(">I4s", head)
        data = stream.read(length)
        assert struct.unpack(">I", stream.read(4))[0] == zlib.crc32(kind + data)
        found[kind] = found.get(kind, b"") + data
    return found


def whole(picture: pictures.Picture) -> None:
    found = chunks(picture.png)
    assert struct.unpack(">II", found[b"IHDR"][:8]) >= (600, 150)
    assert len(picture.png) < 120_000
    data, metadata = picture._repr_mimebundle_()
    assert metadata["image/png"]["alt"].startswith(picture.title)
    assert data["text/plain"] == f"{picture.title}: {picture.alt}"
    assert picture.alt.endswith(".")


def test_months_count_sessions_and_bytes(both):
    picture = pictures.months(both[0])
    whole(picture)
    assert "9 sessions: 5 MR, 2 CT, 2 PT" in picture.alt and "2024-01" in picture.alt and "MB" in picture.alt


def test_sides_hold_both_sides(both):
    picture = pictures.sides(diff(*both))
    whole(picture)
    assert "only source: 6 at the source" in picture.alt and "conflict: 2 at the source" in picture.alt


def test_rate_is_bytes_over_time():
    picture = pictures.rate([(1.0, 1_000_000), (2.0, 4_000_000), (4.0, 8_000_000)], 10_000_000)
    whole(picture)
    assert picture.alt.startswith("8.0 MB were sent in 4 s, 2.0 MB a second on average")


def test_verdicts_are_those_of_the_result():
    picture = pictures.verdicts(result(equal=3, explained=2, different=1, not_proved=1))
    whole(picture)
    assert picture.alt == ("3 equal, 2 changed as explained, 1 different, 1 cannot be proved, together 7.")


def test_where_there_is_nothing_there_is_no_picture(both):
    assert pictures.rate([]) is None and pictures.rate([(1.0, 0)]) is None
    assert pictures.verdicts(result()) is None
    assert pictures.sides(Diff(pd.DataFrame(columns=["status"]), pd.DataFrame(), pd.DataFrame())) is None


def test_many_months_become_years(both):
    import dataclasses

    rows = pd.concat([both[0].sessions] * 20, ignore_index=True)
    rows["date"] = [f"{2000 + at // 12}-{at % 12 + 1:02d}-01" for at in range(len(rows))]
    picture = pictures.months(dataclasses.replace(both[0], sessions=rows))
    whole(picture)
    assert "by year" in picture.title


def test_a_picture_is_kept_as_a_file(both, tmp_path):
    path = pictures.months(both[0]).save(tmp_path / "pictures")
    assert path.name == "months.png" and path.stat().st_size > 5000
