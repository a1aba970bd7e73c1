"""What the suites of this folder share: how many tries, from which seed, and a line that says tried and missed.

Each file is one promise under generated trouble. Few tries, always the same ones, unless the environment asks for more:
``XNBTRANSFER_TRIES=1000 XNBTRANSFER_SEED=7 python -m pytest tests/adversity``.
"""

from __future__ import annotations

import os
import random


def tries(usual: int) -> int:
    """How many tries: ``XNBTRANSFER_TRIES``, else ``usual``."""
    return int(os.environ.get("XNBTRANSFER_TRIES", usual))


def chance() -> random.Random:
    """The generator of a suite, seeded by ``XNBTRANSFER_SEED``."""
    return random.Random(int(os.environ.get("XNBTRANSFER_SEED", 1)))


def told(promise: str, tried: int, missed: list) -> None:
    """Print what was tried and missed, and fail on what was missed."""
    print(f"{promise}: {tried} tried, {len(missed)} missed")
    assert not missed, missed[:5]
