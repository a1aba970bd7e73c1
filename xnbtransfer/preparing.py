"""From two projects to a reviewed plan: the one road that command line, templates, campaign, guide and tests take."""

from __future__ import annotations

from .inputs import Inputs
from .options import TransferOptions
from .plan import Plan, plan
from .progress import Sides, read_sides
from .review import review
from .xnat import Connection


def prepare(
    source: Connection,
    destination: Connection,
    options: TransferOptions,
    *,
    inputs: Inputs | None = None,
    sides: Sides | None = None,
    headers: bool = True,
    alone: bool = False,
) -> Plan:
    """Read both projects, decide what would be done, look at headers: the plan, ready to be carried out.

    Nothing is written at a server.

    Parameters
    ----------
    source, destination : Connection
        Logged in to the servers of both projects.
    options : TransferOptions
        Names the projects, what is selected, and what is done with what exists.
    inputs : Inputs, optional
        What :func:`xnbtransfer.inputs.read_inputs` read; without it that is done first.
    sides : Sides, optional
        What :func:`xnbtransfer.progress.read_sides` read, where somebody wants to see it; without it that is done.
    headers : bool
        False leaves the review of headers out, whatever ``options.review`` says, and tells nothing of it.
    alone : bool
        A review without a copy, as :func:`xnbtransfer.review.review` has it.

    Returns
    -------
    Plan
        One row per selected session; ``blockers`` says what forbids a run.

    Raises
    ------
    InputError
        If a parameter, or a file that it names, cannot be used, nothing is selected, or both projects are one.
    """
    sides = sides or read_sides(source, destination, options, inputs)
    made = plan(sides.source, sides.destination, options, labels=sides.labels, inputs=sides.inputs)
    if not headers:
        return made
    return review(made, source, sides.source, alone=alone, inputs=sides.inputs)
