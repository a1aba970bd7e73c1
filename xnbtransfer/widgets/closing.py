"""Closing a guided transfer: the whole story as a notebook, the pictures, every table as CSV, sealed as a record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, RefusedError
from ..html import Html, paragraph
from ..outputs import write_whole
from ..pictures import Picture
from ..record import NOTEBOOK, close_record, seal

if TYPE_CHECKING:
    from .models import GuidedTransfer

PICTURES = "pictures"
STORY_TAG, PAGE_TAG = "story", "page"


def close(transfer: GuidedTransfer) -> Path:
    """Write the record of a transfer and seal it. Returns its folder.

    Raises
    ------
    RefusedError
        If nothing was approved, a run is going, or a password in use would be in the record.
    """
    from .steps import NAMES
    from .story import chapter

    if transfer.record is not None:
        return transfer.record
    if transfer.workspace is None or transfer.going:
        raise RefusedError("There is nothing to seal yet.", "Approve a plan, and let its run come to its end.")
    with transfer.working("record", "sealing the record"):
        result = transfer.outcome()
        close_record(transfer.workspace, transfer.made, result, differences=transfer.differences)
        chapters = [chapter(transfer, name) for name in NAMES[: NAMES.index("record")]]
        folder = transfer.workspace.folder
        for part in (part for told in chapters for part in told if isinstance(part, Picture)):
            part.save(folder / PICTURES)
        write_story(chapters, folder / NOTEBOOK)
        return seal(transfer.workspace, hidden=transfer.typed())


def find_notebook(name: str) -> Path:
    """A notebook of the package, in the checkout or in what was installed."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_notebooks", package.parent / "notebooks"):
        if (found := folder / f"{name}.ipynb").exists():
            return found
    raise InputError(f"There is no notebook {name!r}.", "Install the package again.")


def write_story(chapters: list[list[Html | Picture]], to: Path) -> Path:
    """The guided notebook with the chapters as its outputs, as if it had been saved from the page."""
    import nbformat

    notebook = nbformat.read(find_notebook("guided-transfer"), as_version=4)
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        tags = cell.metadata.get("tags", [])
        if STORY_TAG in tags:
            cell.outputs = [output(part) for told in chapters for part in told]
        elif PAGE_TAG in tags:
            words = "The steps were taken here; what was confirmed is written below."
            cell.outputs = [output(paragraph(words))]
    nbformat.validate(notebook)
    return write_whole(to, nbformat.writes(notebook, version=4) + "\n")


def output(part: Html | Picture) -> Any:
    """A part of the story as an output of a cell."""
    import nbformat

    data, metadata = part._repr_mimebundle_()
    return nbformat.v4.new_output("display_data", data=data, metadata=metadata)
