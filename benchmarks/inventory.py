"""Requests and seconds to list a large project, beside a walk with xnatpy's objects.

    python benchmarks/inventory.py [--sessions 1000] [--scans 12] [--files 2] [--latency-ms 50] [--walk 10]

The embedded server holds the project and answers every request late by the given time, as a server in another town
does. The walk visits a sample of the sessions, and its cost for all of them is computed from the cost per session.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import xnat

from xnbtransfer.inventory import read_inventory
from xnbtransfer.server import running
from xnbtransfer.server.demo import bulk
from xnbtransfer.server.state import State
from xnbtransfer.xnat import connect

PROJECT = "BULK"


def measured(connection, **choice) -> tuple[int, float, object]:
    """Requests, seconds and result of one inventory."""
    start = time.perf_counter()
    found = read_inventory(connection, PROJECT, **choice)
    return found.requests, time.perf_counter() - start, found


def walked(server, user: str, password: str, sample: int) -> tuple[int, float, int]:
    """Requests, seconds and files of a walk over some sessions with xnatpy's objects; log-in left out."""
    with xnat.connect(server.url, user=user, password=password, loglevel="ERROR") as session:
        before, start = len(server.log()), time.perf_counter()
        files = 0
        experiments = session.projects[PROJECT].experiments.values()
        for number, experiment in enumerate(experiments):
            if number == sample:
                break
            for scan in experiment.scans.values():
                _ = experiment.label, experiment.subject.label, scan.type, scan.quality, scan.series_description
                for resource in scan.resources.values():
                    files += len(resource.files)
        return len(server.log()) - before, time.perf_counter() - start, files


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--sessions", type=int, default=1000)
    words.add_argument("--scans", type=int, default=12, help="scans of a session")
    words.add_argument("--files", type=int, default=2, help="files of a scan")
    words.add_argument("--latency-ms", type=float, default=50.0)
    words.add_argument("--walk", type=int, default=10, help="sessions in the sample of the walk")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="xnbtransfer-benchmark-") as folder:
        with running(data=folder):
            pass  # makes the accounts
        bulk(State(Path(folder)), PROJECT, asked.sessions, asked.scans, asked.files, 0)
        with running(data=folder) as server:
            compare(server, asked)


def compare(server, asked: argparse.Namespace) -> None:
    """Measure both ways at a running server and print the table."""
    user, password = server.accounts["owner"]
    server.faults([{"fault": "latency", "delay_s": asked.latency_ms / 1000, "times": None}])
    with connect(server=server.url, user=user, password=password, prompt=False) as connection:
        listed = measured(connection, files=False)
        full = measured(connection)
        sessions = len(full[2].sessions)
        assert len(full[2].scans) == sessions * asked.scans, full[2].notes
        assert len(full[2].files) == sessions * asked.scans * asked.files, full[2].notes
    walk = walked(server, user, password, asked.walk)
    scale = sessions / asked.walk
    whole_walk = (walk[0] * scale, walk[1] * scale)
    print(f"{sessions} sessions x {asked.scans} scans x {asked.files} files, {asked.latency_ms:g} ms a request\n")
    print(f"{'way':44}{'requests':>10}{'seconds':>10}{'times fewer':>13}{'times faster':>14}")
    rows = [
        ("inventory without files", listed[0], listed[1]),
        ("inventory with files, sizes and MD5", full[0], full[1]),
        (f"walk with xnatpy (from {asked.walk} sessions)", *whole_walk),
    ]
    for name, requests, seconds in rows:
        print(
            f"{name:44}{requests:>10.0f}{seconds:>10.1f}"
            f"{whole_walk[0] / requests:>13.0f}{whole_walk[1] / seconds:>14.0f}"
        )


if __name__ == "__main__":
    main()
