"""One row of preflight's table."""

from dataclasses import dataclass
from typing import Literal

from mlseg_core.errors import UserError

Mark = Literal["ok", "warning", "bad", "skipped"]


@dataclass(frozen=True)
class Finding:
    """seen: what was found.  fix: what to do about it; empty if nothing is wrong.  said: SLURM's own words, for --verbose."""

    name: str
    mark: Mark
    seen: str
    fix: str = ""
    said: str = ""

    @classmethod
    def of(cls, name: str, error: Exception) -> "Finding":
        """The finding of a check that an error stopped: the user's mistake with its fix, or an error of ours by its type."""
        if isinstance(error, UserError):
            where = f"{error.where}: " if error.where else ""
            return cls(name, "bad", f"{where}{error.what}", error.fix)
        return cls(name, "bad", f"{type(error).__name__}: {error}".split("\n")[0])
