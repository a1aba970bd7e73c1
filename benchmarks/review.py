"""What a review costs: a copy with and without review=all in one run, and a sample of many sessions over a slow line.

    python benchmarks/review.py [--large-mb 1000] [--repeat 2] [--sessions 1000] [--scans 3] [--latency 50]
        [--rate-mb-s 0]

The copy is one session of 4 scans of 0.5 MB files on the loopback, proof included; the ratio is that of two runs beside
each other, so that a busy machine slows both. The sample is one request a scan by the server's header dump, at the
latency that is added to every request.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from xnbtransfer import server as embedded

MOST_MORE, MOST_SECONDS = 0.25, 60


def child(words: list[str]) -> None:
    """One measured run in a process of its own; prints its figures as JSON."""
    import xnbtransfer.review  # noqa: F401 - the time that Python takes to import pandas and xnat is not a review's
    from xnbtransfer.options import TransferOptions
    from xnbtransfer.preparing import prepare
    from xnbtransfer.progress import read_sides
    from xnbtransfer.review import review
    from xnbtransfer.transfer import run
    from xnbtransfer.xnat import connect

    what, depth, rate, url, user, password = words
    given = {"source_project": "BENCH", "destination_project": "BENCH_TO", "archive": True}
    options = TransferOptions.from_mapping({**given, "review": depth, "rate_mb_s": int(rate)})
    login = {"server": url, "user": user, "password": password}
    with connect(**login) as source, connect(**login) as destination, tempfile.TemporaryDirectory() as folder:
        sides = read_sides(source, destination, options)
        made = prepare(source, destination, options, sides=sides, headers=False)
        started, cpu = time.perf_counter(), time.process_time()
        if what == "copy":
            result = run(made, source, destination, folder=folder)
            if int(result.exit_code):
                raise SystemExit(f"the copy was not proved: {result.counts} {result.problems}")
            found = {"findings": 0 if result.findings is None else len(result.findings)}
        else:
            before = source.requests
            made = review(made, source, sides.source, inputs=sides.inputs)
            found = {"findings": len(made.findings), "requests": source.requests - before}
        found |= {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    print(json.dumps(found))


def measure(
    what: str, depth: str, sessions: int, scans: int, files: int, size: int, latency_ms: int, rate_mb_s: int = 0
) -> dict:
    """Figures over fresh content."""
    from xnbtransfer.server.demo import bulk
    from xnbtransfer.server.state import State

    with tempfile.TemporaryDirectory() as data, embedded.running(data=data) as server:
        state = State(Path(data))
        bulk(state, "BENCH", sessions, scans, files, size, user=server.accounts["owner"][0])
        state.new_project("BENCH_TO", server.accounts["owner"][0], prearchive_code=0)
        if latency_ms:
            server.faults([{"fault": "latency", "delay_s": latency_ms / 1000}])
        words = [what, depth, str(rate_mb_s), server.url, *server.accounts["owner"]]
        done = subprocess.run([sys.executable, __file__, "--child", *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:] or done.stdout[-3000:])
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large-mb", type=int, default=1000, help="the copy: 4 scans of 0.5 MB files; 0: none")
    parser.add_argument("--repeat", type=int, default=2, help="pairs of copies; the best of each counts")
    parser.add_argument("--sessions", type=int, default=1000, help="the sample; 0: none")
    parser.add_argument("--scans", type=int, default=3, help="scans of each session of the sample")
    parser.add_argument("--latency", type=int, default=50, help="milliseconds added to every request of the sample")
    parser.add_argument("--rate-mb-s", type=int, default=0, help="the copy at this rate at most; 0: as fast as it goes")
    chosen = parser.parse_args()
    fits = True
    if chosen.large_mb:
        best: dict[str, dict] = {}
        for _ in range(chosen.repeat):
            for depth in ("none", "all"):
                one = measure("copy", depth, 1, 4, chosen.large_mb // 2, 500_000, 0, chosen.rate_mb_s)
                if depth not in best or one["seconds"] < best[depth]["seconds"]:
                    best[depth] = one
                told = f"{one['seconds']:7.2f} s, {one['cpu_s']:7.2f} s of CPU"
                print(f"copy of {chosen.large_mb} MB, review={depth:5} {told}", flush=True)
        more = best["all"]["seconds"] / best["none"]["seconds"] - 1
        cpu = best["all"]["cpu_s"] / best["none"]["cpu_s"] - 1
        fits = more <= MOST_MORE
        print(f"review of every file: {more:+.0%} of time, {cpu:+.0%} of our CPU (at most {MOST_MORE:+.0%} of time)")
    if chosen.sessions:
        one = measure("sample", "sample", chosen.sessions, chosen.scans, 2, 28_000, chosen.latency)
        fits = fits and one["seconds"] <= MOST_SECONDS
        print(
            f"sample of {chosen.sessions} sessions, {chosen.sessions * chosen.scans} scans, at {chosen.latency} ms: "
            f"{one['seconds']:.1f} s, {one['requests']} requests, {one['cpu_s']:.1f} s of CPU "
            f"(at most {MOST_SECONDS} s)"
        )
    raise SystemExit(0 if fits else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
