"""Anonymisation scripts as the server uses them: what runs, over what, and what it leaves.

`dicomedit` carries a script out as XNAT's engines do; this room is the only one that calls it. The server runs the
site's script as a file is received, over each file by itself, and the project's as a session is archived, moved or
renamed, over all its files in one run, whose variables live from file to file (XNAT source: ``GradualDicomImporter``,
``ProjectAnonymizer``). A text that is no script is taken like any other and fails as it runs, as on XNAT. What the
server carries out less well than XNAT is said when a script is set (`shortcomings`).

Which engine a server has goes by its version: 1.6 has DicomEdit 4 alone and 1.8.10 DicomEdit 6.6. What 1.7
came with was not recorded; 6.3, the oldest that was, stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from . import personality
from .dicomedit.engine6 import Maps
from .dicomedit.run import End, Outcome, Running
from .dicomedit.run import shortcomings as _shortcomings
from .reencode import Header

if TYPE_CHECKING:
    from .state import State

DEFAULT_SITE_SCRIPT = """\
//
// Default XNAT anonymization script
// XNAT http://www.xnat.org
//
version "6.1"
project != "Unassigned" ? (0008,1030) := project
(0010,0010) := subject
(0010,0020) := session
"""
DEFAULT_SITE_SCRIPT_4 = """\
project = "Unassigned" : (0008,1030) := (0008,1030)
(0008,1030) := project
(0010,0010) := subject
(0010,0020) := session
"""  # recorded from 1.6.4: client-forms 15 (F15)
_maps: WeakKeyDictionary[State, Maps] = WeakKeyDictionary()


class ScriptError(ValueError):
    """The script failed; ``left`` is what is left of the file, nothing where the engine gave an error back."""

    def __init__(self, told: str, left: bytes = b"") -> None:
        super().__init__(told)
        self.left = left


class Rejected(Exception):
    """The script will not have this object: ``reject``."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The names a script can use."""

    project: str
    subject: str
    session: str


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script in use for one request; ``script_id`` is the code value that it leaves in each file, if any.

    ``release`` is the newest DicomEdit 6 of the server, ``only_4`` says that it has none, and ``maps`` are the UIDs
    that ``mapUID`` gave out.
    """

    text: str
    script_id: str
    release: str = "6.6"
    only_4: bool = False
    maps: Maps = field(default_factory=Maps)
    _running: dict[Labels, Running] = field(default_factory=dict, compare=False)

    def begin(self, labels: Labels) -> Running:
        """Begin a run over several files."""
        return Running(
            self.text, vars(labels), script_id=self.script_id, release=self.release, only_4=self.only_4, maps=self.maps
        )

    def apply(self, header: Header, labels: Labels) -> None:
        """Run over the one file that ``header`` begins, whose stream is read to its end; ``header`` is the new file.

        A file whose stream breaks off stays as it came, and breaks off again where it is written.

        Raises
        ------
        Rejected, ScriptError
        """
        try:
            data = header.whole()
        except Exception:  # the header tells again, as it is written
            return
        header.replace(settled(self.begin(labels).over(data)))

    def over(self, data: bytes, labels: Labels) -> bytes:
        """Run over the next file of one run; return what it is now.

        Raises
        ------
        Rejected, ScriptError
            After which the run goes on with the next file.
        """
        if labels not in self._running:
            self._running[labels] = self.begin(labels)
        return settled(self._running[labels].over(data))


def settled(outcome: Outcome) -> bytes:
    """The file that a run left; `Rejected` or `ScriptError` where it did not end well."""
    if outcome.end is End.REJECTED:
        raise Rejected
    if outcome.end is not End.DONE:
        raise ScriptError(outcome.error, outcome.data)
    return outcome.data


def apply(script: Script, files: Iterable[bytes], labels: Labels) -> list[Outcome]:
    """What becomes of each of ``files`` in one run of ``script``, which goes on with the others after a failure."""
    running = script.begin(labels)
    return [running.over(data) for data in files]


def default_site_script(state: State) -> str:
    """What a stock server of this version runs on everything it receives."""
    return DEFAULT_SITE_SCRIPT if personality.has(state, "dicomedit-6") else DEFAULT_SITE_SCRIPT_4


def of(state: State, text: str, script_id: str) -> Script:
    """A script as the server of ``state`` runs it."""
    return Script(text=text, script_id=script_id, maps=_maps.setdefault(state, Maps()), **_engines(state))


def shortcomings(state: State, text: str) -> list[str]:
    """What this server does not do as XNAT does with a script, a sentence each; empty for nearly all."""
    return _shortcomings(text, **_engines(state))


def _engines(state: State) -> dict:
    only_4 = not personality.has(state, "dicomedit-6")
    return {"release": "6.6" if personality.has(state, "dicomedit-6.6") else "6.3", "only_4": only_4}
