"""The mark of a round of labels whose sidecars were removed to make room; its manifest stays. Loads no torch."""

import time
from pathlib import Path

from mlseg_core.files import write_json

_MARK = "cleaned.json"


def is_cleaned(labels: Path) -> bool:
    """labels: a round's folder."""
    return (labels / _MARK).exists()


def mark_cleaned(labels: Path, files: int, size: int) -> None:
    """Before anything is removed. size: bytes."""
    write_json(labels / _MARK, {"files": files, "bytes": size, "time": time.time()})


def forget_cleaned(labels: Path) -> None:
    """The round has been made again."""
    (labels / _MARK).unlink(missing_ok=True)
