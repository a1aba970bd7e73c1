"""``xnbtransfer demo``: the whole road on this machine, from an empty folder to a sealed record."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType

from .errors import InputError
from .outputs import make_folder, not_written, write_whole

SOURCE, DESTINATION = "DEMO_SOURCE", "DEMO_DESTINATION"
# What somebody decided about the two sessions of the demonstration that meet a conflict.
DECISIONS = "subject,session,decision,to_session\n002,002_MR1,skip,\n004,004_PET1,skip,\n"


def embedded_server() -> ModuleType:
    """The embedded server, which needs packages of the extra ``demo``.

    Raises
    ------
    InputError
        If they are not installed.
    """
    try:
        for name in ("httptools", "numpy", "starlette", "uvicorn"):
            importlib.import_module(name)
        importlib.metadata.version("python-multipart")  # its module bore another name before 0.0.13
    except ImportError as problem:
        raise InputError(
            f"The embedded server needs the package {problem.name}.", "Install it: pip install 'xnbtransfer[demo]'."
        ) from None
    return importlib.import_module("xnbtransfer.server")


def run_demo(output: str | Path, *, aloud: bool = False) -> Path:
    """Start a server with demo content, transfer its source project into the archive of its destination, stop it.

    Parameters
    ----------
    output : path
        Folder that receives the record; it may exist, and no record in it is overwritten.

    Returns
    -------
    Path
        The record.
    """
    from .notebook import run_template
    from .options import TransferOptions

    decisions = Path(output) / "decisions.csv"
    try:
        make_folder(output)
        write_whole(decisions, DECISIONS)
    except OSError as problem:
        what = f"The record cannot be written to {output}"
        raise not_written(problem, what, "Name another folder with --output.") from None
    with embedded_server().running(demo=True) as xnat:
        user, password = xnat.accounts["member"]
        env: dict[str, str] = {}
        for side in ("", "SOURCE_", "DESTINATION_"):
            env |= {f"XNAT_{side}HOST": xnat.url, f"XNAT_{side}USER": user, f"XNAT_{side}PASS": password}
        options = TransferOptions.from_mapping(
            {
                "source_project": SOURCE,
                "destination_project": DESTINATION,
                "archive": True,
                "decisions": str(decisions),
                "record_root": str(output),
                "reason": "demonstration",
            }
        )
        return run_template("transfer", options, env=env, aloud=aloud)
