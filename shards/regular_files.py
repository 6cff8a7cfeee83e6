"""Only regular files are read: to open a named pipe waits for a writer that may never come, and a device never ends.

In: a path. Out: what it is instead, in words. A link counts as what it points to.
"""

import errno
import stat
from pathlib import Path

from mlseg_core.errors import UserError

_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def irregular(path: Path) -> str | None:
    """What the path is in words, where it is no regular file. None: it is one, or a folder, or nobody can say; opening it will."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):
        return None
    return _KINDS.get(kind, "something else") if kind not in (stat.S_IFREG, stat.S_IFDIR) else None


def require_regular(path: Path) -> None:
    """Raises OSError with the reason for anything that is there and is no regular file."""
    found = irregular(path)
    if found is not None:
        raise OSError(errno.EINVAL, f"it is {found}, not a regular file", str(path))


def refuse_irregular(path: Path, what: str) -> None:
    """The same for a person. what: the slide, annotation, … that the path should be. Raises UserError."""
    found = irregular(path)
    if found is not None:
        raise UserError(
            f"the {what} is {found}, not a regular file", path, "Name the file itself, or copy its data to one."
        )
