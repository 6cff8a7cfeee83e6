"""The mark of a folder whose sidecar shards (labels, styled views) were removed to make room; the manifest stays. No torch."""

import json
import time
from pathlib import Path

from mlseg_core.files import write_json
from mlseg_core.own import refuse_foreign

_MARK = "cleaned.json"


def is_cleaned(folder: Path) -> bool:
    return (folder / _MARK).is_file() and _is_ours(folder / _MARK)


def _is_ours(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() >= {"files", "bytes", "time"}


def mark_cleaned(folder: Path, files: int, size: int) -> None:
    """Before anything is removed. size: bytes. Raises UserError where a file of somebody else has the mark's name."""
    refuse_foreign([folder / _MARK], _is_ours)
    write_json(folder / _MARK, {"files": files, "bytes": size, "time": time.time()})


def forget_cleaned(folder: Path) -> None:
    """What was removed has been made again."""
    if is_cleaned(folder):
        (folder / _MARK).unlink(missing_ok=True)
