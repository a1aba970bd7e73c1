"""A write is sent once; a second time only after the state of the server was read. The one place that repeats a write.

Called by every room that changes a server. It must never believe an answer: a status of 500 may stand for something
that was done, done in part or not at all (live 1.8.11: an archive request that failed, sent again, made a session
without files), and a 200 for something that was not done (a file put without the right). What was done is what a
reading says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import DiskFullError, JournalError, ServerError, XnbTransferError
from .html import size

TRIES = 4
TOO_LARGE = 413  # a server, or what stands before it, takes no body of this size
_LONGEST_S = 300.0

Found = TypeVar("Found")


def is_open(problem: XnbTransferError) -> bool:
    """Whether an answer leaves it open what was done: none came, "later", or a status of 500 and above."""
    return problem.retry or getattr(problem, "status", 0) >= 500


def send_and_look(
    send: Callable[[], object],
    look: Callable[[XnbTransferError | None], Found | None],
    what: str,
    *,
    tries: int = TRIES,
    repeats: Callable[[XnbTransferError], bool] = is_open,
    doubts: bool = False,
    remedy: str = "",
) -> Found:
    """Send a write, read what became of it, and send it again only where nothing did.

    Parameters
    ----------
    send : callable
        Sends the request, once.
    look : callable
        Reads the state after the answer: gets the problem that it was, or None, and returns what there is now, or None
        where nothing happened and the request may be sent again. It raises where another request would do harm.
    what : str
        What is sent, for a sentence.
    repeats : callable
        Whether the request may be sent again after a problem that left nothing at the server.
    doubts : bool
        Whether it is also sent again after an answer of success that left nothing.
    remedy : str
        What to do where the server says that it was done, and shows nothing.

    Raises
    ------
    XnbTransferError
        The server's own words where it failed for good, or what ``look`` raises.
    """
    for attempt in range(tries):
        problem: XnbTransferError | None = None
        try:
            send()
        except (DiskFullError, JournalError):
            raise
        except XnbTransferError as error:
            problem = error
        found = look(problem)
        if found is not None:
            return found
        again = doubts if problem is None else repeats(problem)
        if not again or attempt == tries - 1:
            break
        pause(problem, attempt)
    raise problem or ServerError(f"{what} was answered as done, and the server does not show it.", remedy)


def too_large(problem: ServerError, size_bytes: int) -> ServerError:
    """What to say where even one file is larger than is taken."""
    return ServerError(
        f"{problem.message} One file with its zip is {size(size_bytes)}, more than the limit there.",
        "Ask its administrator to raise the limit of a request's body in the proxy (nginx: client_max_body_size) and "
        "in the server (maxPostSize, maxSwallowSize) above the largest file.",
        status=TOO_LARGE,
    )


def pause(problem: XnbTransferError | None, attempt: int) -> None:
    """Wait before something is asked again: as long as the server wishes, at most five minutes, else a random while."""
    wish = getattr(problem, "retry_after_s", None)
    time.sleep(min(wish if wish is not None else random.uniform(0.1, 0.4) * 2**attempt, _LONGEST_S))
