"""Which run a folder holds and whose it is: by its id, and by the owners of its files, for which earlier versions need no record.

The id lies in the run's folder from the first start on and stands at the end of its jobs' names.
A run folder that is moved, copied, or deleted and made anew is told from the one that jobs in the queue belong to. A run
that an earlier version made has no id, and gets one only together with code that knows ids: the job that plans again runs
the frozen code, which would not know jobs of such names as its own and would submit them a second time.
"""

import os
import secrets
import time
from pathlib import Path

from launch.paths import same_place
from launch.run_folder.folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import publish_first, read_json, temporary_beside, write_json

FILE = "run.json"
LENGTH = 8
_KNOWS_IDS = ("launch/run_folder/identity.py", "launch/identity.py")
"""Files of code that knows ids: this one, under its present and its former name."""
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def run_id(run: RunFolder) -> str:
    """The run's id; "" before the first start, of a run made by an earlier version, and of a copy of another run's folder."""
    found = _read(run.path)
    return "" if not found or _is_copy(run, found) else str(found["id"])


def ensure_id(run: RunFolder) -> str:
    """The run's id, made at the first start; "" while the frozen code knows no ids. Follows a folder that was moved.

    Call it after the code is frozen, and never while jobs of the run are in the queue.
    """
    if not any((run.code / name).is_file() for name in _KNOWS_IDS):
        return ""
    found, target = _read(run.path), run.path / FILE
    if found and _is_copy(run, found):
        write_json(target, _fresh(run))
    elif found and found.get("path") != str(run.path):
        write_json(target, {**found, "path": str(run.path)})
    elif not found:
        temporary = temporary_beside(target)
        write_json(temporary, _fresh(run))
        publish_first(temporary, target)
    return str(_read(run.path)["id"])


def _fresh(run: RunFolder) -> dict[str, object]:
    mark = "".join(secrets.choice(_LETTERS) for _ in range(LENGTH))
    earlier = {"earlier": True} if run.exists() and run.is_of_earlier_version else {}
    return {"id": mark, "path": str(run.path), "made": time.time(), **earlier}


def _read(folder: Path) -> dict[str, object]:
    try:
        found = read_json(folder / FILE)
    except (UserError, OSError):
        return {}
    return found if isinstance(found, dict) and "id" in found else {}


def _is_copy(run: RunFolder, found: dict[str, object]) -> bool:
    """The folder that the id was made for is still there, and is another one."""
    original = Path(str(found.get("path", run.path)))
    return not same_place(original, run.path) and _read(original).get("id") == found["id"]


def owner_of(path: Path) -> int | None:
    """User id; None when the file is not there or cannot be looked at."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def may_write(run: RunFolder) -> bool:
    """True when this user may add to the run folder, or make it."""
    folders = [folder for folder in (run.path, run.plans) if folder.is_dir()]
    return all(os.access(folder, os.W_OK | os.X_OK) for folder in folders)
