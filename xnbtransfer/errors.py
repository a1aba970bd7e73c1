"""The error tree: what went wrong, whether trying again can help, and what to do next.

XnbTransferError (exit 1)
├── InputError (2)            a parameter, file or label map that cannot be used as given
│   ├── OptionsError          an unknown, mistyped or contradictory option
│   ├── LoginError            credentials are missing or refused
│   └── NotFoundError         a project or session that does not exist for this user
├── RefusedError (5)          blockers, missing rights, or a plan that no longer fits the world
├── TransientError (6)        run it again: time-outs, 502/503/504, a dropped connection
│   ├── SessionExpiredError   the login ran out and could not be renewed
│   ├── HeldError             another run has the session now
│   └── DiskFullError         no room for the temporary files or the record
├── ServerError (1)           the server answered something that no retry mends
│   ├── NotDataError          a web page came in place of data
│   ├── EmptyAnswerError      200 with no byte in place of a list, again and again
│   └── AddressError          XNAT's firewall refuses a name in an address
├── DicomError (3)            a file that is not DICOM, is truncated, or has no instance UID
├── SourceDamagedError (3)    a source file does not match the MD5 the source lists for it
├── JournalError (2)          a journal of another plan, in use, or damaged before its end
└── IncompleteError (3, 4)    the run ended, but not every file is proved

Exit codes follow one table (see ``docs/reference.md``): 0 all proved, 1 anything else, 2 bad parameters,
3 differences or failed rows, 4 something cannot be proved, 5 refused, 6 transient, 7 all that was sent is proved, and
something that was selected was not sent and needs a person.
"""

from __future__ import annotations

import enum

from .printable import printable


class ExitCode(enum.IntEnum):
    """The exit codes of the command line and of the templates."""

    PROVED = 0
    ERROR = 1
    BAD_INPUT = 2
    DIFFERENCES = 3
    CANNOT_BE_PROVED = 4
    REFUSED = 5
    TRANSIENT = 6
    NEEDS_A_PERSON = 7


class XnbTransferError(Exception):
    """Base of all our errors: a sentence, and a remedy that says what to do next.

    Parameters
    ----------
    message : str
        What was asked, what was found and where. Never a secret, never an identifying value. It may quote a server:
        control characters become visible.
    remedy : str
        What to do next, as a sentence.
    """

    exit_code: ExitCode = ExitCode.ERROR
    retry: bool = False
    default_remedy = ""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = printable(message)
        self.remedy = printable(remedy or self.default_remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def __reduce__(self):
        return (type(self), (self.message, self.remedy))

    def _render_traceback_(self) -> list[str]:
        """In a notebook show the sentence only: a traceback is saved with the record and helps nobody."""
        return [f"{type(self).__name__}: {self}"]


class InputError(XnbTransferError):
    exit_code = ExitCode.BAD_INPUT


class OptionsError(InputError):
    pass


class LoginError(InputError):
    default_remedy = "Check the user name and the password or token, then try again."


class NotFoundError(InputError):
    default_remedy = "Check the spelling, and ask the project's owner whether you are a member of it."


class RefusedError(XnbTransferError):
    exit_code = ExitCode.REFUSED


class TransientError(XnbTransferError):
    """The same request may succeed later. ``retry_after_s`` is the server's own wish, in seconds, or None."""

    exit_code = ExitCode.TRANSIENT
    retry = True
    default_remedy = "Run the same command again: what is already done is not sent twice."

    def __init__(self, message: str, remedy: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, remedy)
        self.retry_after_s = retry_after_s


class SessionExpiredError(TransientError):
    pass


class HeldError(TransientError):
    """Another run has it, or may have had it meanwhile: it is left to that one, and a later run goes on with it."""

    default_remedy = "Run the same command again once that run has ended; what is right then is not sent twice."


class DiskFullError(TransientError):
    retry = False
    default_remedy = (
        "Free some space, or point --record-root and TMPDIR to a larger disk, then run the same command again."
    )


class ServerError(XnbTransferError):
    """An answer that no retry mends. ``status`` is the HTTP status, 0 where there was none."""

    def __init__(self, message: str, remedy: str = "", status: int = 0) -> None:
        super().__init__(message, remedy)
        self.status = status


class NotDataError(ServerError):
    default_remedy = "Log in again; if it happens again, check that the address is that of the XNAT itself."


class EmptyAnswerError(ServerError):
    default_remedy = (
        "It is no question of your login: the server failed and did not say why. Try again in some minutes; if it "
        "stays so, run 'xnbtransfer doctor' and show the table to the server's administrator."
    )


class AddressError(ServerError):
    pass


class DicomError(XnbTransferError):
    exit_code = ExitCode.DIFFERENCES


class SourceDamagedError(XnbTransferError):
    exit_code = ExitCode.DIFFERENCES
    default_remedy = "Ask the administrator of the source to check the file against a backup."


class JournalError(InputError):
    pass


class IncompleteError(XnbTransferError):
    """Raised at the end of a template whose result is not clean; carries the exit code of the result."""

    exit_code = ExitCode.DIFFERENCES

    def __init__(self, message: str, remedy: str = "", exit_code: ExitCode = ExitCode.DIFFERENCES) -> None:
        super().__init__(message, remedy)
        self.exit_code = ExitCode(exit_code)

    def __reduce__(self):
        return (type(self), (self.message, self.remedy, self.exit_code))
