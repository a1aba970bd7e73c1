"""Short ways to a copy for the tests: connect as somebody, plan, run, and read what the server logged."""

from __future__ import annotations

from pathlib import Path

from xnbtransfer.choice import select_sessions
from xnbtransfer.inventory import read_inventory
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import Plan, plan
from xnbtransfer.transfer import run
from xnbtransfer.xnat import Connection, connect

SOURCE, DESTINATION = "DEMO_SOURCE", "DEMO_DESTINATION"
WRITES = ("POST", "PUT", "DELETE", "PATCH")
# asked by POST or PUT, and nothing is changed by it
_NO_WRITES = ("/data/services/auth", "/data/JSESSION", "/data/services/validate-archive", "/_faults")


def as_(server, role: str = "member") -> Connection:
    """A connection to the embedded server as one of its people."""
    user, password = server.accounts[role]
    return connect(server=server.url, user=user, password=password, prompt=False)


def options(**values) -> TransferOptions:
    return TransferOptions.from_mapping({"source_project": SOURCE, "destination_project": DESTINATION, **values})


def make_plan(source: Connection, destination: Connection, chosen: TransferOptions, labels=None) -> Plan:
    here = select_sessions(read_inventory(source, chosen.source_project, prearchive=False), chosen)
    there = read_inventory(destination, chosen.destination_project)
    return plan(here, there, chosen, labels=labels)


def copy(server, folder: Path, role: str = "member", labels=None, **values):
    """Plan and run a copy on one server; returns (plan, result)."""
    with as_(server, role) as source, as_(server, role) as destination:
        made = make_plan(source, destination, options(**values), labels)
        return made, run(made, source, destination, folder=folder)


def again(server, made: Plan, folder: Path, role: str = "member"):
    """Run a plan once more over the same folder."""
    with as_(server, role) as source, as_(server, role) as destination:
        return run(made, source, destination, folder=folder)


def writes(server) -> list[dict]:
    """The mutating requests that the server logged, log-in and log-out left out."""
    return [
        entry
        for entry in server.log()
        if entry["method"] in WRITES
        and not entry["path"].startswith(_NO_WRITES)
    ]
