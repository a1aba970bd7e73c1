"""How fast the embedded server is beside bare loops on the same machine: zips out, imports in, long lists, memory.

    python benchmarks/server.py [--megabytes 500] [--file-kb 500] [--scans 12000] [--profile FOLDER]

The bare loops are a process that sends the same bytes through a socket, and one that writes them to a file. Ratios
say more than the figures themselves, which are the machine's.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from xnbtransfer import server as embedded
from xnbtransfer.server.demo import bulk
from xnbtransfer.server.state import State

PIECE = 1 << 20
AIMS = {"zip out": 300, "import in": 150}


class Client:
    """The lightest client there is: one connection, one buffer."""

    def __init__(self, url: str, login: tuple[str, str]) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=600, blocksize=PIECE)
        token = base64.b64encode(":".join(login).encode()).decode()
        self.headers = {"Authorization": f"Basic {token}"}
        self.ask("GET", "/data/JSESSION")

    def ask(self, method: str, path: str, body=None, headers: dict[str, str] | None = None, keep=None) -> int:
        """Send one request; returns the number of bytes of the answer, written to ``keep`` where given."""
        self.connection.request(method, path, body, {**self.headers, **(headers or {})})
        answer = self.connection.getresponse()
        cookie = answer.getheader("Set-Cookie") or ""
        if "JSESSIONID=" in cookie:
            self.headers["Cookie"] = "JSESSIONID=" + cookie.partition("JSESSIONID=")[2].partition(";")[0]
        buffer, total = memoryview(bytearray(PIECE)), 0
        while count := answer.readinto(buffer):
            total += count
            if keep is not None:
                keep.write(buffer[:count])
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status}")
        return total


def timed(action) -> tuple[float, int]:
    """Seconds and the action's own answer."""
    began = time.perf_counter()
    found = action()
    return time.perf_counter() - began, found


def bare_socket(size: int) -> float:
    """Seconds to bring ``size`` bytes through a socket of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if not pid:
        with listener.accept()[0] as out:
            piece = bytes(PIECE)
            for _ in range(size // PIECE):
                out.sendall(piece)
        os._exit(0)
    began = time.perf_counter()
    with socket.create_connection(listener.getsockname()) as found:
        buffer = bytearray(PIECE)
        while found.recv_into(buffer):
            pass
    os.waitpid(pid, 0)
    listener.close()
    return time.perf_counter() - began


def bare_disk(size: int, folder: Path, file_size: int) -> float:
    """Seconds to write ``size`` bytes as files of ``file_size``."""
    piece, target = bytes(file_size), folder / "bare"
    target.mkdir()
    began = time.perf_counter()
    for number in range(size // file_size):
        with open(target / str(number), "wb", buffering=0) as out:
            out.write(piece)
    return time.perf_counter() - began


def peak_mb(pid: int) -> float:
    """The most memory that a process has had, where the system says so."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines() if Path("/proc").is_dir() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used so far, where the system says so."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return float("nan")
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(what: str, size: int, seconds: float, used: float, bare: float) -> None:
    megabytes = size / 1e6
    aim = next((aim for name, aim in AIMS.items() if what.startswith(name)), "-")
    rates = f"{megabytes / seconds:>8.0f} {aim:>6} {seconds / bare:>8.2f} {used:>8.2f}"
    print(f"{what:34} {megabytes:>8.0f} {seconds:>8.2f} {rates}", flush=True)


def measure(megabytes: int, file_kb: int, scans: int, streams: int) -> None:
    with tempfile.TemporaryDirectory() as name, embedded.running(data=name) as server:
        folder, login = Path(name), server.accounts["owner"]
        state, pid = State(folder), server._process.pid
        state.set_site("enableSitewideAnonymizationScript", "false")
        files = megabytes * 1000 // file_kb
        bulk(state, "OUT", 1, 1, files, file_kb * 1000, user=login[0])
        bulk(state, "LONG", scans // 120 or 1, min(scans, 120), 1, 0, user=login[0])
        state.new_project("IN", login[0], prearchive_code=0)
        client = Client(server.url, login)
        started_with = peak_mb(pid)

        def run(what: str, size: int, bare: float, action) -> None:
            used, seconds = cpu(pid), timed(action)[0]
            show(what, size, seconds, cpu(pid) - used, bare)

        print(f"{'what':34} {'MB':>8} {'seconds':>8} {'MB/s':>8} {'aim':>6} {'/ bare':>8} {'CPU s':>8}")
        address = "/data/projects/OUT/experiments/B00001_MR1/scans/1/files?format=zip"
        with open(folder / "sent.zip", "w+b") as keep:
            size = client.ask("GET", address, keep=keep)
            wire = bare_socket(size)
            show("bare socket", size, wire, 0, wire)
            run("zip out", size, wire, lambda: client.ask("GET", address))
            disk = bare_disk(size, folder, file_kb * 1000)
            show("bare files", size, disk, 0, disk)
            length = {"Content-Type": "application/zip", "Content-Length": str(size)}
            for what, more in (
                ("import in, prearchive", "dest=/prearchive/projects/IN"),
                ("import in, archive", "dest=/archive/projects/IN/subjects/A/experiments/A1"),
            ):
                keep.seek(0)
                place = f"/data/services/import?import-handler=DICOM-zip&{more}"
                run(what, size, wire + disk, lambda place=place: client.ask("POST", place, keep, length))
            if streams > 1:
                run(
                    f"import in, {streams} at once",
                    size * streams,
                    (wire + disk) * streams,
                    lambda: parallel(server, keep.name, size, streams),
                )
        for what, address in (
            (f"list of {scans} scans", "/data/experiments?project=LONG&xsiType=xnat:imageSessionData&format=json"
             "&columns=label,subject_label,date,UID,modality,xnat:imagescandata/id,xnat:imagescandata/uid,"
             "xnat:imagescandata/type,xnat:imagescandata/frames,xnat:imagescandata/series_description,"
             "xnat:imagescandata/file/label,xnat:imagescandata/file/file_count,xnat:imagescandata/file/file_size"),
            ("list of sessions", "/data/projects/LONG/experiments?format=json&columns=ID,label,UID,date"),
        ):  # fmt: skip
            seconds, size = min(timed(lambda a=address: client.ask("GET", a)) for _ in range(3))
            print(f"{what:34} {size / 1e6:>8.1f} {seconds:>8.3f} {'':>8} {'0.5 s':>6}", flush=True)
        seconds, _ = timed(lambda: [client.ask("GET", "/data/auth") for _ in range(300)])
        print(f"{'one small request':34} {'':>8} {seconds / 300:>8.4f}")
        print(f"{'memory, MB: at the start, at most':34} {started_with:>8.0f} {peak_mb(pid):>8.0f}")


def parallel(server, sent: str, size: int, streams: int) -> None:
    """Several imports of different sessions at the same time."""

    def send(number: int) -> None:
        client = Client(server.url, server.accounts["owner"])
        address = f"/data/services/import?import-handler=DICOM-zip&PROJECT_ID=IN&SUBJECT_ID=P&EXPT_LABEL=P{number}"
        with open(sent, "rb") as body:
            client.ask("POST", address, body, {"Content-Type": "application/zip", "Content-Length": str(size)})

    threads = [threading.Thread(target=send, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500, help="size of one scan")
    parser.add_argument("--file-kb", type=int, default=500, help="size of one file")
    parser.add_argument("--scans", type=int, default=12_000, help="scans of the long list")
    parser.add_argument("--streams", type=int, default=2, help="imports at the same time; 1 leaves them out")
    chosen = parser.parse_args()
    measure(chosen.megabytes, chosen.file_kb, chosen.scans, chosen.streams)


if __name__ == "__main__":
    sys.exit(main())
