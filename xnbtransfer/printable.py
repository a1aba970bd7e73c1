"""Text from a server or a file as a terminal, a log and a notebook may show it: what nobody sees becomes visible.

Called where text leaves the program for people (errors, tables, JSON on the terminal). Never applied to what is
compared, stored or sent: there a label or a path stays exactly as it was listed.
"""

from __future__ import annotations

import re

# C0 and C1 control characters but tab and line feed (ISO/IEC 6429: ESC and CSI begin commands of a terminal), line and
# paragraph separators, and the marks that turn the direction of text (Unicode UAX 9), with which a name can be made to
# look like another one.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text with each control character in the spelling of a Python string; tab and line feed stay.

    >>> print(printable("T1\x1b[2J"))
    T1\x1b[2J
    """
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    """A JSON text with what it may hold unescaped, and nobody sees, in JSON's own spelling: the same value."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
