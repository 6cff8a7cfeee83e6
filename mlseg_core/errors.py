"""Errors that carry an exit status: 1 failed, 2 for a person to fix, 75 interrupted and to be continued."""

import errno
import os

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 75


REMEDIES = {
    errno.ENOSPC: "Free some space there",
    errno.EDQUOT: "Free some space there, or have the quota raised",
    errno.EROFS: "The file system is read-only: have it mounted for writing",
    errno.EACCES: "Have its permissions changed",
    errno.EPERM: "Have its permissions changed",
}
"""errno -> what a person can do. Trying again helps with none of these."""


class UserError(Exception):
    """Bad input that the user can fix. Shown as one line, exit status 2.

    what: what is wrong.  where: file, row or field.  fix: what to do about it.
    """

    def __init__(self, what: str, where: object = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, str(where), fix
        parts = [f"{self.where}: " if self.where else "", what.rstrip("."), f". {fix}" if fix else ""]
        super().__init__(" ".join("".join(parts).split()))

    def __reduce__(self):  # survives the trip between processes
        return type(self), (self.what, self.where, self.fix)


class Interrupted(Exception):
    """Work was stopped at a safe point (signal, preemption) and continues when started again. Exit status 75."""


def disk_error(error: BaseException | None) -> OSError | None:
    """The error itself or what it was raised from, where that is one of REMEDIES."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in REMEDIES:
            return error
        error = error.__cause__
    return None


def for_a_person(error: BaseException) -> UserError | None:
    """The same in words, where a person has to fix it: the user's mistake, a full or read-only disk, missing permissions."""
    if isinstance(error, UserError):
        return error
    cause = disk_error(error)
    if cause is None:
        return None
    assert cause.errno is not None
    again = "start again: it continues"
    if cause is not error and not isinstance(error, OSError):  # somebody has put it into words already
        return UserError(str(error), "", f"{REMEDIES[cause.errno]}, then {again}.")
    places = [str(name) for name in (cause.filename, cause.filename2) if name is not None]
    return UserError(os.strerror(cause.errno).lower(), " -> ".join(places), f"{REMEDIES[cause.errno]}, then {again}.")


def exit_status(error: BaseException) -> int:
    """Exit status of the command that ended with `error`."""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if for_a_person(error) is not None:
        return EXIT_USER_ERROR
    return EXIT_FAILED
