"""Which XNAT the embedded servers of this test session are like, where a test does not say it: ``--personality``."""

from __future__ import annotations

import os

from xnbtransfer.server import personality

ENGINE_6 = "1.6 has DicomEdit 4 alone, and these are words of version 6 (measured: docs/conformance.md)"
"""Why a test of scripts is left out below 1.7."""


def has(feature: str) -> bool:
    """Whether that version has a feature of the server's table of differences.

    >>> has("a feature that there is not")
    Traceback (most recent call last):
    ...
    KeyError: 'a feature that there is not'
    """
    version = personality.VERSIONS[os.environ.get(personality.UNSAID) or "1.8"]
    return personality._number(version) >= personality._number(personality.SINCE[feature])


def script(statements: str) -> str:
    """Statements as a script that this version runs: with a version line, but for 1.6, whose engine knows none.

    There DicomEdit 4 ends at it in silence and changes nothing (measured: ``docs/conformance.md``, engine 4).
    """
    return ('version "6.1"\n' if has("dicomedit-6") else "") + statements
