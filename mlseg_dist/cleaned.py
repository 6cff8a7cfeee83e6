"""The mark of a folder whose sidecar shards (labels, styled views) were removed to make room; the manifest stays. No torch."""

import time
from pathlib import Path

from mlseg_core.files import write_json

_MARK = "cleaned.json"


def is_cleaned(folder: Path) -> bool:
    return (folder / _MARK).exists()


def mark_cleaned(folder: Path, files: int, size: int) -> None:
    """Before anything is removed. size: bytes."""
    write_json(folder / _MARK, {"files": files, "bytes": size, "time": time.time()})


def forget_cleaned(folder: Path) -> None:
    """What was removed has been made again."""
    (folder / _MARK).unlink(missing_ok=True)
