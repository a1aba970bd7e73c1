"""Answers that are weapons: endless, dripping, packed, nested without end. A sentence, and little memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import threading
import time
import tracemalloc
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standin import PASSWORD, USER

from xnbtransfer import _bounds, _http
from xnbtransfer.arrival import Lying, all_ours
from xnbtransfer.errors import NotDataError, ServerError, TransientError, XnbTransferError
from xnbtransfer.forms import DELETE
from xnbtransfer.plan_file import ScanPlan, SessionPlan
from xnbtransfer.review import read_every
from xnbtransfer.streams import Spool, read_scan
from xnbtransfer.xnat import connect
from xnbtransfer.zips import Limits, read_zip

MB = 1 << 20


@contextlib.contextmanager
def hostile():
    """An XNAT that lets everybody in; ``answers[path]`` writes what it likes after the status line."""
    answers: dict = {}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words) -> None:
            pass

        def serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if path in answers:
                with contextlib.suppress(OSError):
                    answers[path](self)
                return
            token = "A" * 32
            said = f"User '{USER}' is logged in".encode() if path == "/data/auth" else token.encode()
            given = {"Set-Cookie": f"JSESSIONID={token}; Path=/"} if path.endswith("services/auth") else {}
            body(self, said, **given)

        do_GET = do_PUT = do_DELETE = do_POST = serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda request, address: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        with connect(
            server=f"http://127.0.0.1:{server.server_port}", user=USER, password=PASSWORD, prompt=False
        ) as connection:
            yield answers, connection
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def body(handler, data: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(data)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def without_end(piece: bytes, pause_s: float = 0.0, status: int = 200, **headers: str):
    def answer(handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        while True:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause_s)

    return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_http, "PAUSE_S", 0.001)
    monkeypatch.setattr(_http, "LIST_BYTES", 4 * MB)


SUBJECTS = "/data/projects/P/subjects"
ZIP = "/data/experiments/E/scans/1/resources/DICOM/files"


def memory_of(ask) -> tuple[XnbTransferError, int]:
    """The error of a request, and the most memory that was held meanwhile, in bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(XnbTransferError) as caught:
            ask()
        return caught.value, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb(size: int) -> bytes:
    """That many blanks, packed, and made without holding them."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(b"[") + b"".join(packer.compress(b" " * MB) for _ in range(size // MB)) + packer.flush()


@pytest.mark.parametrize(
    "answer",
    [
        without_end(b"[1,2,3," * 10_000),
        without_end(b"[1,2,3," * 10_000, **{"Content-Type": "application/json", "Content-Length": "99999999999"}),
        lambda handler: body(handler, bomb(200 * MB), **{"Content-Encoding": "gzip"}),
    ],
    ids=["endless", "announced", "gzip"],
)
def test_a_list_that_is_longer_than_any_is_read_no_further(answer):
    with hostile() as (answers, connection):
        answers[SUBJECTS] = answer
        problem, held = memory_of(lambda: connection.subjects("P"))
    assert isinstance(problem, NotDataError) and "more than" in problem.message
    assert held < 64 * MB


def test_a_refusal_without_an_end_is_a_refusal():
    with hostile() as (answers, connection):
        answers[SUBJECTS] = without_end(b"x" * 100_000, status=403)
        problem, held = memory_of(lambda: connection.subjects("P"))
    assert "403" in problem.message and held < 32 * MB


@pytest.mark.parametrize("packing", ["gzip, gzip", "gzip,gzip,gzip,gzip", "br", "zstd", "strange\x1b[31m"])
def test_a_body_that_is_packed_as_nobody_asked_is_refused(packing):
    with hostile() as (answers, connection):
        answers[SUBJECTS] = lambda handler: body(handler, b"{}", **{"Content-Encoding": packing})
        with pytest.raises(ServerError, match="packed as"):
            connection.subjects("P")


@pytest.mark.parametrize("deep", ["[" * 500_000, '{"a":' * 300_000, '{"ResultSet":{"Result":' + "[" * 200_000])
def test_json_that_is_nested_without_end_is_no_list(deep):
    with hostile() as (answers, connection):
        answers[SUBJECTS] = lambda handler: body(handler, deep.encode(), **{"Content-Type": "application/json"})
        with pytest.raises(NotDataError, match="no list"):
            connection.subjects("P")


@pytest.mark.parametrize("how", ["list", "zip", "announced"])
def test_what_drips_is_broken_off_by_its_bytes(monkeypatch, how):
    monkeypatch.setattr(_bounds, "GRACE_S", 0.6)
    with hostile() as (answers, connection):
        announced = {"Content-Length": "100000000"} if how == "announced" else {}
        answers[SUBJECTS] = answers[ZIP] = without_end(b"PK\x03\x04", 0.05, **announced)
        began = time.monotonic()
        with pytest.raises(ServerError, match="broken off"):
            if how == "list":
                connection.subjects("P")
            else:
                with connection._http.stream(connection._scan_zip("E", "1", "DICOM")) as pieces:
                    list(pieces)
        assert time.monotonic() - began < 10


def test_what_comes_at_a_pace_is_waited_for_and_a_slow_reader_counts_for_nothing(monkeypatch):
    monkeypatch.setattr(_bounds, "GRACE_S", 0.3)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        out.writestr("a/files/1.dcm", bytes(3 * MB))
    with hostile() as (answers, connection):
        answers[ZIP] = lambda handler: body(handler, made.getvalue())
        with connection._http.stream(connection._scan_zip("E", "1", "DICOM")) as pieces:
            got = b""
            for piece in pieces:
                got += piece
                time.sleep(0.1)
    assert got == made.getvalue()


def dripping(pieces, pause_s: float):
    def answer(handler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause_s)

    return answer


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["status line", "headers"])
@pytest.mark.parametrize("how", ["list", "zip", "write"])
def test_headers_that_drip_are_broken_off(monkeypatch, how, begin):
    monkeypatch.setattr(_bounds, "GRACE_S", 0.6)
    with hostile() as (answers, connection):
        drip = [begin or b"H", *[b"a"] * 400]
        answers[SUBJECTS] = answers[ZIP] = answers["/data/experiments/E"] = dripping(drip, 0.05)
        began = time.monotonic()
        with pytest.raises(ServerError, match=r"127\.0\.0\.1 sent the headers .* broken off"):
            if how == "list":
                connection.subjects("P")
            elif how == "write":
                connection._http.write(DELETE({}, item="/data/experiments/E"))
            else:
                with connection._http.stream(connection._scan_zip("E", "1", "DICOM")) as pieces:
                    list(pieces)
        assert time.monotonic() - began < 10


def test_silence_before_and_between_headers_is_no_dripping(monkeypatch):
    monkeypatch.setattr(_bounds, "GRACE_S", 0.3)
    rows = json.dumps({"ResultSet": {"Result": [{"label": "S", "ID": "X", "project": "P", "URI": "/x"}]}}).encode()
    head = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(rows)
    with hostile() as (answers, connection):
        answers[SUBJECTS] = dripping([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", head + rows], 0.5)
        assert [row["subject"] for row in connection.subjects("P")] == ["S"]


def deflated(name: str, size: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out, out.open(name, "w") as member:
        for _ in range(size // MB):
            member.write(bytes(MB))
    return made.getvalue()


def test_an_entry_far_beyond_what_is_listed_is_broken_off(tmp_path):
    packed = deflated("E/scans/1/resources/DICOM/files/1.dcm", 300 * MB)
    with Spool(str(tmp_path)) as spool:
        problem, held = memory_of(
            lambda: read_scan(
                [packed],
                scan="1",
                resource="DICOM",
                prefix="p",
                listed={"1.dcm": (1000, "")},
                study_uid="",
                key=b"k",
                spool=spool,
            )
        )
    assert "beyond what is listed" in problem.message and held < 32 * MB


def test_a_review_of_every_file_reads_no_further_than_the_plan_lists():
    packed = deflated("E/scans/1/resources/DICOM/files/1.dcm", 100 * MB)
    told = {"series_description": "", "resource": "DICOM", "action": "send", "because": ""}
    scan = ScanPlan(scan="1", files=1, size_bytes=1000, **told)
    session = SessionPlan.model_construct(session_id="E")
    with hostile() as (answers, connection):
        answers[ZIP] = lambda handler: body(handler, packed)
        problem, _ = memory_of(lambda: read_every(connection, session, scan, None))
    assert "beyond what is listed" in problem.message


def test_a_prearchive_row_is_read_no_further_than_it_lists():
    packed = deflated("1/scans/1/DICOM/1.dcm", 100 * MB)
    uri = "/prearchive/projects/P/20240101_000000000/E"
    with hostile() as (answers, connection):
        answers[f"/data{uri}"] = lambda handler: body(handler, packed)
        there = {"1.dcm": [Lying("1", "DICOM", "1.dcm", 1000)]}
        problem, _ = memory_of(lambda: all_ours(connection, uri, there, set(), set()))
    assert "beyond what is listed" in problem.message


def test_more_entries_than_are_listed_are_broken_off():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        for number in range(2000):
            out.writestr(str(number), b"")
    with pytest.raises(ServerError, match="holds more than"):
        for _, data in read_zip([made.getvalue()], Limits.of([10, 10])):
            list(data)


def test_what_a_list_does_not_know_is_bounded_as_before():
    assert Limits.of([]) == Limits.of([0, 5]) == Limits()


def test_what_is_packed_as_a_server_may_is_read():
    rows = {"ResultSet": {"Result": [{"label": "S", "ID": "X", "project": "P", "URI": "/data/subjects/X"}]}}
    for packing, packed in (("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)):
        with hostile() as (answers, connection):
            data = packed(json.dumps(rows).encode())
            answers[SUBJECTS] = lambda handler, data=data, packing=packing: body(
                handler, data, **{"Content-Encoding": packing, "Content-Type": "application/json"}
            )
            assert [row["subject"] for row in connection.subjects("P")] == ["S"]


def test_a_cut_is_still_a_passing_failure():
    with hostile() as (answers, connection):
        answers[SUBJECTS] = lambda handler: body(handler, b"{}", **{"Content-Length": "100"})
        with pytest.raises(TransientError):
            connection.subjects("P")
