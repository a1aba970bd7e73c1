"""How much text a script may make over one file: it is foreign, and XNAT's own process would end where this says no."""

from __future__ import annotations

from .errors import Failed

MOST = 1 << 26
"""Characters that functions, assignments and ``echo`` may make together over one file."""


class Budget:
    """What is left for one file."""

    def __init__(self) -> None:
        self.left = MOST

    def spend(self, characters: int) -> None:
        """Take so many, before they are made; `Failed` where they are no longer there."""
        self.left -= characters
        if self.left < 0:
            raise Failed("OutOfMemoryError: the script makes more text than a file may take here")

    def joined(self, texts: list[str]) -> str:
        """The texts after each other."""
        self.spend(sum(map(len, texts)))
        return "".join(texts)

    def replaced(self, text: str, old: str, new: str) -> str:
        """The text with each ``old`` made ``new``."""
        self.spend(len(text) + text.count(old) * max(0, len(new) - len(old)))
        return text.replace(old, new)

    def for_message(self, pattern: str, texts: list[str | None]) -> None:
        """Take what a message of these texts can need at most."""
        longest = max((len(text or "null") for text in texts), default=0)
        self.spend(len(pattern) + pattern.count("{") * longest)
