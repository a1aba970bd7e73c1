"""Which engine a script is for (mizer source: ``AbstractMizer.parseVersionString``, ``VersionString``).

Only a line that begins with ``version`` counts. It is split at single white space, and what stands second is the
version, quotes taken away; nothing there, or no such line, means DicomEdit 4. The number decides: 6.0 up to what the
engine has, 4.0, trailing zeros left out. All else is refused.
"""

from __future__ import annotations

import re

from .errors import Refused

LINE_ENDS = re.compile(r"\r\n|\r|\n")


def lines_of(text: str) -> list[str]:
    """The lines of a script as Java's ``BufferedReader`` tells them: any of the three line ends, the last one
    optional."""
    lines = LINE_ENDS.split(text)
    return lines[:-1] if lines[-1] == "" else lines


def engine_of(text: str, release: tuple[int, int]) -> int:
    """4 or 6; `Refused` when no engine knows the version. ``release`` is the newest 6.x that there is."""
    line = next((line for line in lines_of(text) if line.startswith("version")), None)
    if line is None:
        return 4
    words = re.split(r"[ \t\n\x0b\f\r]", line)
    if len(words) < 2:
        raise Refused("Index 1 out of bounds for length 1")
    told = words[1].replace('"', "")
    if not told.strip():
        return 4
    found = re.search(r"\d+(\.\d+)*", told)
    if found is None:
        raise Refused("The Mizer service failed to find a Mizer implementation that knows how to handle your script, "
                      "but also found what appears to be a malformed version declaration.")
    numbers = [int(part[:9]) for part in found[0].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    if numbers == [4]:
        return 4
    if numbers[0] == 6 and len(numbers) <= 2 and numbers <= [*release]:
        return 6
    raise Refused("The Mizer service failed to find a Mizer implementation that knows how to handle your script")
