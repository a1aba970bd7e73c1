"""The three ways in which a run of a script does not end well, as the engines tell them apart."""

from __future__ import annotations


class Refused(Exception):
    """An exception of the engine: nothing is written, the file stays as it is."""


class Failed(Exception):
    """The engine returns an error: the file is left with 0 bytes (since DicomEdit 6.6; before, `Refused`)."""


class RejectedFile(Exception):
    """The script asked for this object to be kept out."""
