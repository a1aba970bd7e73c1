"""Which XNAT the embedded servers of this test session are like, where a test does not say it: ``--personality``."""

from __future__ import annotations

import os

from xnbtransfer.server import personality


def has(feature: str) -> bool:
    """Whether that version has a feature of the server's table of differences.

    >>> has("a feature that there is not")
    Traceback (most recent call last):
    ...
    KeyError: 'a feature that there is not'
    """
    version = personality.VERSIONS[os.environ.get(personality.UNSAID) or "1.8"]
    return personality._number(version) >= personality._number(personality.SINCE[feature])
