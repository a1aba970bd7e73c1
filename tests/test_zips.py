"""Zips: Java and Python read what we write, and a damaged one never passes for whole."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xnbtransfer.errors import NotDataError, ServerError, TransientError
from xnbtransfer.server.demo_files import SeriesPlan, make_series
from xnbtransfer.streams import read_scan
from xnbtransfer.zips import Limits, ZipMember, read_zip, write_zip, zip_length

FILES = {"a.dcm": b"hello", "b/\u00fc \u65e5.dcm": bytes(range(256)), "empty.dcm": b""}
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda name: not name.endswith("/")
)


def members(files):
    return [ZipMember(name, len(data), zlib.crc32(data)) for name, data in files.items()]


def written(files, size=1 << 16):
    def read(member):
        data = files[member.name]
        return (data[at : at + size] for at in range(0, len(data), size))

    return b"".join(write_zip(members(files), read))


def chunks(data, size):
    return (data[at : at + size] for at in range(0, len(data), size))


def read(data, size=1 << 16, **limits):
    return {name: b"".join(parts) for name, parts in read_zip(chunks(data, size), Limits(**limits))}


@given(files=st.dictionaries(NAMES, st.binary(max_size=300), max_size=8), size=st.integers(1, 400))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_again(files, size):
    data = written(files, size)
    assert len(data) == zip_length(members(files))
    assert read(data, size) == files


def test_the_standard_library_reads_it():
    with zipfile.ZipFile(io.BytesIO(written(FILES))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_more_than_65535_members_need_zip64():
    files = {f"{number:05d}.dcm": b"" for number in range(65_536)}
    data = written(files)
    assert len(data) == zip_length(members(files))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == len(files)
    assert len(read(data)) == len(files)


def test_sizes_beyond_four_gigabytes_are_counted():
    small, large = ZipMember("a", 10, 0), ZipMember("b", 5 << 30, 0)
    # Local headers 30 + 1 each, 20 for the wide one; central 46 + 1 each; 20 and 12 of zip64; end records.
    assert zip_length([small, large]) == 31 + 10 + 51 + (5 << 30) + 47 + 67 + 56 + 20 + 22
    assert zip_length([large, small]) == 51 + (5 << 30) + 31 + 10 + 67 + 59 + 56 + 20 + 22


JAVA = r"""
import java.io.*; import java.nio.charset.StandardCharsets; import java.util.zip.*;
public class ReadZip {
  public static void main(String[] a) throws Exception {
    PrintStream out = new PrintStream(System.out, true, "UTF-8");
    ZipInputStream in = new ZipInputStream(new BufferedInputStream(System.in), StandardCharsets.UTF_8);
    byte[] buffer = new byte[65536];
    for (ZipEntry entry; (entry = in.getNextEntry()) != null; ) {
      CRC32 crc = new CRC32(); long size = 0; int n;
      while ((n = in.read(buffer)) > 0) { crc.update(buffer, 0, n); size += n; }
      in.closeEntry();
      out.println(size + " " + crc.getValue() + " " + entry.getName());
    }
  }
}
"""


@pytest.fixture(scope="module")
def java_reads(tmp_path_factory):
    if not (shutil.which("javac") and shutil.which("java")):
        pytest.skip("there is no Java development kit to read zips with")
    folder = tmp_path_factory.mktemp("java")
    (folder / "ReadZip.java").write_text(JAVA, encoding="utf-8")
    subprocess.run(["javac", "-encoding", "UTF-8", "ReadZip.java"], cwd=folder, check=True, timeout=120)

    def run(data):
        command = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(folder), "ReadZip"]
        answer = subprocess.run(command, input=data, capture_output=True, timeout=120)
        assert answer.returncode == 0, answer.stderr.decode()
        rows = [line.split(" ", 2) for line in answer.stdout.decode("utf-8").splitlines()]
        return [ZipMember(name, int(size), int(crc)) for size, crc, name in rows]

    return run


@pytest.mark.parametrize(
    "files",
    [
        FILES,
        {"one": b"x" * 200_000},
        {f"{n}.dcm": bytes([n % 256]) * n for n in range(300)},
        {f"{n}": b"" for n in range(65_600)},
    ],
    ids=["unicode", "large", "many", "zip64"],
)
def test_java_reads_names_sizes_and_crcs(java_reads, files):
    assert java_reads(written(files)) == members(files)


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_every_cut_is_noticed(size):
    whole = written(FILES)
    for length in range(1, len(whole)):
        with pytest.raises(TransientError):
            read(whole[:length], size)


def test_a_cut_after_the_last_member_of_a_deflated_zip_is_noticed():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"x" * 1000)
    whole = out.getvalue()
    assert read(whole) == {"a": b"x" * 1000}
    for length in range(1, len(whole)):
        with pytest.raises(TransientError):
            read(whole[:length])


def test_changed_bytes_of_a_member_are_noticed():
    whole = written({"a": b"x" * 100})
    for at in range(whole.index(b"xxx"), whole.index(b"PK\x01\x02")):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        with pytest.raises(TransientError):
            read(bytes(damaged))


def test_an_error_inside_a_member_is_ours_where_it_is_read():
    whole = written({"a": b"x" * 100_000})
    _, data = next(read_zip(chunks(whole[:50_000], 1000)))
    with pytest.raises(TransientError):
        b"".join(data)


@pytest.mark.parametrize(
    "body", [b"", b"<html>log in</html>", b"  <!DOCTYPE html>", b"{}", b"ustar no zip at all", b"PKnot"]
)
def test_what_is_no_zip_is_no_data(body):
    with pytest.raises((NotDataError, TransientError)) as caught:
        read(body, 3)
    assert isinstance(caught.value, NotDataError) or body.startswith(b"PK")


def test_no_chunks_at_all_is_no_data():
    with pytest.raises(NotDataError, match="nothing"):
        list(read_zip([]))


def test_a_zip_of_nothing_is_whole():
    assert read(written({})) == {}


def test_one_name_twice_is_refused():
    out = io.BytesIO()
    with pytest.warns(UserWarning), zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(ServerError, match="twice"):
        read(out.getvalue())


@pytest.mark.parametrize("limits", [{"members": 2}, {"member_bytes": 255}, {"total_bytes": 260}])
def test_more_than_the_limits_is_refused(limits):
    with pytest.raises(ServerError):
        read(written(FILES), **limits)
    assert read(written(FILES), members=3, member_bytes=256, total_bytes=261) == FILES


def test_a_bomb_is_stopped_while_it_unpacks():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(20_000_000))
    taken = 0
    with pytest.raises(ServerError, match="larger"):
        for _, data in read_zip([out.getvalue()], Limits(member_bytes=1_000_000)):
            for chunk in data:
                taken += len(chunk)
    assert taken <= 1_000_000


def test_what_cannot_be_read_as_a_stream_is_no_matter_of_trying_again():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"1" * 100)
    with pytest.raises(ServerError, match="stream"):
        read(out.getvalue())


def test_directories_are_passed_over_and_names_are_left_alone():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("folder/", b"")
        archive.writestr("../../etc/passwd", b"1")
        archive.writestr("/abs ", b"2")
    assert read(out.getvalue()) == {"../../etc/passwd": b"1", "/abs ": b"2"}


def test_a_member_that_is_not_read_is_passed_over():
    assert [name for name, _ in read_zip([written(FILES)])] == list(FILES)


@pytest.mark.parametrize("data", [b"hell", b"hello!", b"jello"])
def test_a_file_that_changed_stops_the_writer(data):
    with pytest.raises(ValueError):
        list(write_zip([ZipMember("a", 5, zlib.crc32(b"hello"))], lambda member: [data]))


def test_a_file_is_sent_under_one_name_in_whatever_order_it_arrives():
    plan = SeriesPlan(source="MR", number=1, description="series", count=3)
    labels = {"project": "P", "subject": "S", "session": "E"}
    files = dict(make_series(plan, **labels, study_uid="2.25.1", date="20240108"))
    names = []
    for order in (sorted(files), sorted(files, reverse=True)):
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as out:
            for name in order:
                out.writestr(f"E/scans/1/resources/DICOM/files/{name}", files[name])
        more = {"scan": "1", "resource": "DICOM", "prefix": "x", "study_uid": "", "key": b"k", "spool": None}
        found = read_scan([body.getvalue()], listed=dict.fromkeys(files, (1, "")), **more)
        names.append({one.path: one.name for one in found})
    assert names[0] == names[1] and len(set(names[0].values())) == 3
