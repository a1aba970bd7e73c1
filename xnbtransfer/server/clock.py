"""The server's clock, which a fault may move."""

from __future__ import annotations

import datetime
import time

_offset_s = 0.0


def jump(seconds: float) -> None:
    """Let the clock be off by ``seconds`` more; it goes on from there until the process ends."""
    global _offset_s
    _offset_s += seconds


def epoch_s() -> float:
    """Seconds since 1970 by this clock."""
    return time.time() + _offset_s


def now() -> datetime.datetime:
    """Local time by this clock."""
    return datetime.datetime.fromtimestamp(epoch_s())
