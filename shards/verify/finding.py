"""One thing that is wrong, and where."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """shard: file name; key: of the sample, or empty; what: in words."""

    shard: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.shard}{' ' if self.key else ''}{self.key}: {self.what}"
