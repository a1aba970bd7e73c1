"""A copy beside a bare loop that reads back and hashes, too: seconds, CPU, requests a scan and peak memory, in one run.

    python benchmarks/transfer.py [--small 5x12] [--large-mb 1000] [--latencies 0,50] [--workers 4] [--rounds 3]

The bare loop lists, sends one zip per scan (the first scan of a session first, its others side by side), commits and
reads back each session once, with the same number of workers. Like ours it takes MD5 and SHA-256 of every file it sends
and of every file it reads back, and compares the number of files; it looks at no header, no conflict and no listing.
Ours reads each session back twice, in the prearchive and in the archive; with ``proof=prearchive`` once. The ways take
turns, and the median round of each is shown.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from xnbtransfer import server as embedded

WAYS = {"bare": "", "ours": "all", "one reading": "prearchive"}
"""The ways that take turns, and what each reads back: ours both places, as is usual, or the prearchive alone."""


def digests(zipped) -> dict[str, tuple[str, str]]:
    """MD5 and SHA-256 of every member of a zip."""
    found = {}
    with zipfile.ZipFile(zipped) as members:
        for name in members.namelist():
            if "/files/" in name:
                data = members.read(name)
                found[name] = (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())
    return found


def bare_loop(url: str, login: tuple[str, str], source: str, destination: str, workers: int) -> int:
    """The loop a good script has; returns the number of requests."""
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=workers * 2)
    session.mount("http://", adapter)
    count = 0

    def ask(method: str, path: str, **more):
        nonlocal count
        count += 1
        answer = session.request(method, url + path, allow_redirects=False, **more)
        if answer.status_code >= 400:
            answer.raise_for_status()
        return answer

    session.cookies.set("JSESSIONID", ask("POST", "/data/JSESSION", auth=login).text)
    rows = ask(
        "GET", f"/data/experiments?project={source}&xsiType=xnat:imageSessionData&columns=label,subject_label,"
        "xnat:imagescandata/id&format=json"
    ).json()["ResultSet"]["Result"]  # fmt: skip
    sessions: dict[str, tuple[str, str, list[str]]] = {}
    for row in rows:
        key = row["URI"].rsplit("/", 1)[-1]
        sessions.setdefault(key, (row["subject_label"], row["label"], []))[2].append(row["xnat:imagescandata/id"])

    sent: dict[str, list[int]] = collections.defaultdict(list)

    def send(key: str, scan: str) -> str:
        subject, label, _ = sessions[key]
        with tempfile.TemporaryFile() as spool:
            got = ask("GET", f"/data/experiments/{key}/scans/{scan}/files?format=zip", stream=True)
            for piece in got.iter_content(1 << 18):
                spool.write(piece)
            size = spool.tell()
            sent[key].append(len(digests(spool)))
            spool.seek(0)
            answer = ask(
                "POST",
                f"/data/services/import?import-handler=DICOM-zip&PROJECT_ID={destination}&SUBJECT_ID={subject}"
                f"&EXPT_LABEL={label}&prevent_auto_commit=true&SOURCE=uploader&inbody=true",
                data=spool,
                headers={"Content-Type": "application/zip", "Content-Length": str(size)},
            )
            return answer.text.split()[0]

    def one_session(key: str, pool: ThreadPoolExecutor) -> None:
        scans = sessions[key][2]
        uri = send(key, scans[0])
        list(pool.map(lambda scan: send(key, scan), scans[1:]))
        path = uri.removeprefix("/data")
        done = ask("POST", f"/data{path}?action=commit&AA=true").text.strip().removeprefix("/data/archive")
        with tempfile.TemporaryFile() as back:
            got = ask("GET", f"/data{done}/scans/ALL/files?format=zip", stream=True)
            for piece in got.iter_content(1 << 18):
                back.write(piece)
            if len(digests(back)) != sum(sent[key]):
                raise SystemExit("the bare loop lost files")

    with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(max(1, workers // 2)) as outer:
        list(outer.map(lambda key: one_session(key, pool), sessions))
    return count


def ours(url: str, login: tuple[str, str], source: str, destination: str, workers: int, folder: str, proof: str) -> int:
    """The same by `prepare()` and `run()`; returns the number of requests."""
    from xnbtransfer.options import TransferOptions
    from xnbtransfer.preparing import prepare
    from xnbtransfer.transfer import run
    from xnbtransfer.xnat import connect_sides

    options = TransferOptions.from_mapping(
        {
            "source_project": source,
            "destination_project": destination,
            "archive": True,
            "workers": workers,
            "proof": proof,
        }
    )
    os.environ.update(XNAT_HOST=url, XNAT_USER=login[0], XNAT_PASS=login[1])
    with connect_sides() as (one, two):
        made = prepare(one, two, options, headers=False)
        result = run(made, one, two, folder=folder)
        if int(result.exit_code):
            raise SystemExit(f"the copy was not proved: {result.counts} {result.problems}")
        return one.requests + two.requests


def child(words: list[str]) -> None:
    """One measured run in a process of its own; prints its figures as JSON."""
    who, url, user, password, source, destination, workers = words
    if who != "bare":  # the time that Python takes to import pandas and xnat is not a copy's
        import stream_unzip  # noqa: F401

        import xnbtransfer.preparing  # noqa: F401
    started, used = time.perf_counter(), time.process_time()
    if who == "bare":
        count = bare_loop(url, (user, password), source, destination, int(workers))
    else:
        with tempfile.TemporaryDirectory() as folder:
            count = ours(url, (user, password), source, destination, int(workers), folder, WAYS[who])
    took, used = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": took, "cpu_s": used, "requests": count, "peak_mb": peak}))


def measure(who: str, sessions: int, scans: int, files: int, size: int, latency_ms: int, workers: int) -> dict:
    """Figures of one way over fresh content."""
    from xnbtransfer.server.demo import bulk
    from xnbtransfer.server.state import State

    with tempfile.TemporaryDirectory() as data, embedded.running(data=data) as server:
        state = State(Path(data))
        owner = server.accounts["owner"][0]
        bulk(state, "BENCH", sessions, scans, files, size, user=owner)
        state.new_project("BENCH_TO", owner, prearchive_code=0)
        if latency_ms:
            server.faults([{"fault": "latency", "delay_s": latency_ms / 1000}])
        words = [who, server.url, *server.accounts["owner"], "BENCH", "BENCH_TO", str(workers)]
        done = subprocess.run([sys.executable, __file__, "--child", *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:] or done.stdout[-3000:])
        return json.loads(done.stdout.splitlines()[-1])


def _seconds(one: dict) -> float:
    return one["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", default="5x12", help="sessions x scans of 10 files of 28 kB")
    parser.add_argument("--large-mb", type=int, default=1000, help="one session of 4 scans of 0.5 MB files")
    parser.add_argument("--latencies", default="0,50", help="milliseconds added to every request")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    sessions, scans = (int(word) for word in chosen.small.split("x"))
    cases = [(f"{sessions * scans} small scans", sessions, scans, 10, 28_000)]
    if chosen.large_mb:
        cases.append((f"one session of {chosen.large_mb} MB", 1, 4, chosen.large_mb // 2, 500_000))
    heads = f"{'seconds':>8} {'CPU s':>6} {'requests/scan':>14} {'MB':>4} {'ratio':>6}"
    print(f"{'case':28} {'latency':>8} {'way':>11} {heads}")
    for latency in (int(word) for word in chosen.latencies.split(",")):
        for name, many, each, files, size in cases:
            rounds = [
                {who: measure(who, many, each, files, size, latency, chosen.workers) for who in WAYS}
                for _ in range(chosen.rounds)
            ]
            found = {who: sorted((one[who] for one in rounds), key=_seconds)[len(rounds) // 2] for who in rounds[0]}
            for who, one in found.items():
                ratio = one["seconds"] / found["bare"]["seconds"]
                each_scan = one["requests"] / (many * each)
                print(
                    f"{name:28} {latency:>5} ms {who:>11} {one['seconds']:>8.2f} {one['cpu_s']:>6.2f} "
                    f"{each_scan:>14.2f} {one['peak_mb']:>4.0f} {ratio:>6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
