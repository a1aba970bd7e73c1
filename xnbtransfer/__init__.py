"""xnbtransfer: copy DICOM sessions between XNAT projects, prove every file, keep the record.

A copy in Python::

    import xnbtransfer as xt
    options = xt.TransferOptions(source_project="STUDY_A", destination_project="STUDY_B", archive=True)
    with xt.connect_sides() as (source, destination):
        plan = xt.prepare(source, destination, options)
        result = xt.run(plan, source, destination, folder="study-b.run")
    print(result)

Credentials come from the environment (XNAT_HOST, XNAT_USER, XNAT_PASS, or XNAT_SOURCE_... and XNAT_DESTINATION_...),
from .netrc, from a keyring, or from a prompt. Up to ``run`` nothing is written anywhere, so ``plan`` is the dry run:
show it in a notebook, or ``print(plan.to_frame())``. ``plan.save("study-b.json")`` keeps it; ``run`` with
``load_plan("study-b.json")`` over the same folder goes on where a run of it stopped.

The story: connect -> inventory (both sides) -> diff -> plan -> review -> run -> verify -> record

================================  =====================================================================
``connect``, ``connect_sides``    log in to one XNAT, or to source and destination at the same time
``TransferOptions``               what to copy, from where, to where, and what to do with what is there
``read_inventory``                one project as frames
``read_sides``, ``diff``          both projects as a transfer needs them; laid side by side
``prepare``                       all that is read and decided before a run, in one call: the plan
``plan``, ``review``              its two halves: decide; look at headers
``run``, ``Control``              carry a copy out; pause, resume or cancel it
``verify``                        prove again what the destination holds today
``open_record``, ``seal``         a record, checked offline; make the record of a run final
``plan_share``, ``plan_move``,    plans of what carries no file, ``carry_out`` for them
``plan_prearchive``,
``plan_finish``
``load_plan``                     a plan of either kind from its file
================================  =====================================================================

Whatever cannot be done raises an ``XnbTransferError`` that says what was asked, what was found and what to do next
(``errors``). ``widgets`` has the guided notebook, ``server`` an XNAT-compatible server to try all this on. What is
named here is stable; everything else may change with any version (docs/reference.md).
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import errors, server, widgets
    from .actions import carry_out
    from .changes import load_plan
    from .control import Control
    from .diff import Diff, diff
    from .errors import XnbTransferError
    from .findings import Finding
    from .finish import plan_finish
    from .inventory import read_inventory
    from .labels import LabelMap
    from .method_options import FinishOptions, MoveOptions, PrearchiveOptions, ShareOptions
    from .options import TransferOptions
    from .plan import plan
    from .plan_file import Plan
    from .prearchive import plan_prearchive
    from .preparing import prepare
    from .progress import read_sides
    from .record import Record, open_record, seal
    from .relocate import plan_move
    from .review import review
    from .share import plan_share
    from .transfer import run
    from .values import Inventory, Result, Verdict
    from .verify import verify
    from .xnat import Connection, connect, connect_sides

__all__ = [
    "Connection",
    "Control",
    "Diff",
    "Finding",
    "FinishOptions",
    "Inventory",
    "LabelMap",
    "MoveOptions",
    "Plan",
    "PrearchiveOptions",
    "Record",
    "Result",
    "ShareOptions",
    "TransferOptions",
    "Verdict",
    "XnbTransferError",
    "carry_out",
    "connect",
    "connect_sides",
    "diff",
    "errors",
    "load_plan",
    "open_record",
    "plan",
    "plan_finish",
    "plan_move",
    "plan_prearchive",
    "plan_share",
    "prepare",
    "read_inventory",
    "read_sides",
    "review",
    "run",
    "seal",
    "server",
    "verify",
    "widgets",
]

_MODULES = ("errors", "server", "widgets")
_VERBS = ("diff", "plan", "review", "verify")  # each is the name of the module that holds it, too
_HOLDS = {
    "actions": ("carry_out",),
    "changes": ("load_plan",),
    "control": ("Control",),
    "diff": ("Diff",),
    "errors": ("XnbTransferError",),
    "findings": ("Finding",),
    "finish": ("plan_finish",),
    "inventory": ("read_inventory",),
    "labels": ("LabelMap",),
    "method_options": ("FinishOptions", "MoveOptions", "PrearchiveOptions", "ShareOptions"),
    "options": ("TransferOptions",),
    "plan_file": ("Plan",),
    "prearchive": ("plan_prearchive",),
    "preparing": ("prepare",),
    "progress": ("read_sides",),
    "record": ("Record", "open_record", "seal"),
    "relocate": ("plan_move",),
    "share": ("plan_share",),
    "transfer": ("run",),
    "values": ("Inventory", "Result", "Verdict"),
    "xnat": ("Connection", "connect", "connect_sides"),
}
_WHERE = {name: module for module, names in _HOLDS.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first asked for (PEP 562): the import of the package alone loads no pandas."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Verb:
    """A function whose module has its name.

    Python sets a module as an attribute of its package when it imports it, which would hide the function from then on.
    A data descriptor of the package's class comes before its attributes, and lets that assignment pass by. The module
    stays what ``from xnbtransfer.plan import ...`` finds, since that looks in ``sys.modules``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, package: types.ModuleType | None, kind: type | None = None) -> Any:
        return getattr(importlib.import_module(f"{__name__}.{self.name}"), self.name)

    def __set__(self, package: types.ModuleType, value: object) -> None:
        if value is not sys.modules.get(f"{__name__}.{self.name}"):
            raise AttributeError(f"{__name__}.{self.name} is a function of the package and cannot be set")


class _Package(types.ModuleType):
    """The package, whose verbs are functions whatever was imported before."""

    diff, plan, review, verify = map(_Verb, _VERBS)


sys.modules[__name__].__class__ = _Package
