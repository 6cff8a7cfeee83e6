"""Errors that carry an exit status: 1 failed, 2 the user's mistake, 75 interrupted and to be continued."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 75


class UserError(Exception):
    """Bad input that the user can mend. Shown as one line, exit status 2.

    what: what is wrong.  where: file, row or field.  mend: what to do about it.
    """

    def __init__(self, what: str, where: object = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, str(where), mend
        parts = [f"{self.where}: " if self.where else "", what.rstrip("."), f". {mend}" if mend else ""]
        super().__init__(" ".join("".join(parts).split()))

    def __reduce__(self):  # survives the trip between processes
        return type(self), (self.what, self.where, self.mend)


class Interrupted(Exception):
    """Work was stopped at a safe point (signal, preemption) and continues when started again. Exit status 75."""


def exit_status(error: BaseException) -> int:
    """Exit status of the command that ended with `error`."""
    if isinstance(error, UserError):
        return EXIT_USER_ERROR
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return EXIT_FAILED
