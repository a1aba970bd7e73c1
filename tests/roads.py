"""Short ways to a copy for the tests: connect as somebody, plan, run, and read what the server logged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from xnbtransfer.inputs import read_inputs
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan_file import LEASE, Plan
from xnbtransfer.preparing import prepare
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


# Somebody has decided about the two sessions of the demonstration that meet a conflict, where a test chooses nothing.
DECIDED = str(Path(__file__).parent / "demo_decisions.csv")
_CHOOSES = {"sessions", "subjects", "selection", "modalities", "existing", "on_conflict", "decisions", "date_from"}


def options(**values) -> TransferOptions:
    values = {"source_project": SOURCE, "destination_project": DESTINATION, **values}
    demo = (values["source_project"], values["destination_project"]) == (SOURCE, DESTINATION)
    if demo and not _CHOOSES & set(values):
        values["decisions"] = DECIDED
    return TransferOptions.from_mapping(values)


def make_plan(source: Connection, destination: Connection, chosen: TransferOptions, labels=None) -> Plan:
    inputs = read_inputs(chosen)
    if labels is not None:
        inputs = dataclasses.replace(inputs, labels=labels)
    return prepare(source, destination, chosen, inputs=inputs)


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
    """The mutating requests that the server logged; log-in, log-out and leases left out (those: ``leases``)."""
    return [
        entry
        for entry in server.log()
        if entry["method"] in WRITES and not entry["path"].startswith(_NO_WRITES) and LEASE not in entry["path"]
    ]


def leases(server) -> list[dict]:
    """The mutating requests to leases: what a run writes beside the data, and names in its plan."""
    return [entry for entry in server.log() if entry["method"] in WRITES and LEASE in entry["path"]]
