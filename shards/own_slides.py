"""Before slides are drawn or imported into a folder: files there under their names must be ours and unchanged, or the work is
refused.

Slides and annotations have plain names, NAME.tif and NAME.geojson, so a folder may hold a person's own files of that name, or ours
with corrections by hand. The table's sha256 is kept in `.mlseg-written.json`, so that a table that was edited is known.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlseg_core.csv_text import read_table
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import read_all_done
from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_core.files import read_json, sha256_file, write_json
from mlseg_core.own import is_regular
from mlseg_core.store import open_store

TABLE = "slides.csv"
_WRITTEN = ".mlseg-written.json"
_SUFFIXES = (".tif", ".geojson")


def refuse_foreign_slides(
    units: Sequence[Unit], draw: Callable[[Unit, Scratch], None], write_table: Callable[[Path], Path], out: Path
) -> None:
    """Raises UserError for the first file that somebody else wrote, or changed. Writes nothing in `out`.

    A file that no record names is drawn again and compared: a build that was killed may have left it.
    """
    done = read_all_done(open_store(out))
    for unit in units:
        there = [out / f"{unit.name}{suffix}" for suffix in _SUFFIXES if os.path.lexists(out / f"{unit.name}{suffix}")]
        record = done.get(unit.name)
        if record is None:
            _compare(unit, draw, there)
        else:
            anew = record.inputs != unit.inputs  # it will be replaced, so that its content has to be ours as well
            for path in there:
                if not _is_as_recorded(path, record.files.get(path.name, {}), anew):
                    raise UserError(
                        "was changed since mlseg wrote it", path, "Move it away to have it made again, or restore it."
                    )
    _check_table(write_table, out)


def _is_as_recorded(path: Path, fact: dict[str, Any], hashed: bool) -> bool:
    if not path.is_file() or path.is_symlink():
        return not hashed
    if path.stat().st_size != fact.get("bytes"):
        return False
    return not hashed or sha256_file(path) == fact.get("sha256")


def remove_outdated(units: Sequence[Unit], out: Path) -> None:
    """Delete our slides and annotations that were made with other settings, so that they are made anew.

    Only after refuse_foreign_slides: the records name each of them, with its sha256. Killed anywhere, it goes on.
    """
    done = read_all_done(open_store(out))
    for unit in units:
        record = done.get(unit.name)
        if record is None or record.inputs == unit.inputs:
            continue
        for suffix in _SUFFIXES:
            path = out / f"{unit.name}{suffix}"
            if is_regular(path) and _is_as_recorded(path, record.files.get(path.name, {}), hashed=True):
                path.unlink()


def _compare(unit: Unit, draw: Callable[[Unit, Scratch], None], there: Sequence[Path]) -> None:
    if not there:
        return
    with tempfile.TemporaryDirectory(prefix="mlseg-") as folder:
        scratch = Scratch(Path(folder))
        with suppress(UserError):  # told in its turn
            draw(unit, scratch)
        for path in there:
            made = scratch.paths.get(path.name)
            if made is None or not path.is_file() or path.read_bytes() != made.read_bytes():
                raise _foreign(path)


def _check_table(write_table: Callable[[Path], Path], out: Path) -> None:
    path = out / TABLE
    if not os.path.lexists(path):
        return
    if path.is_file():
        with tempfile.TemporaryDirectory(prefix="mlseg-") as folder:
            made = write_table(Path(folder))
            same = made.read_bytes() == path.read_bytes()
            if not same and not _written(out):  # of an earlier version, which kept no sha256
                same = _rows(made) == _rows(path)
        if same or sha256_file(path) == _written(out):
            return
    raise _foreign(path)


def _rows(path: Path) -> list[dict[str, str]]:
    """What a table says, whichever empty columns and quotes the version that wrote it used."""
    try:
        return [{name: cell for name, cell in row.items() if cell} for row in read_table(path).rows]
    except UserError:
        return []


def note_table(out: Path) -> None:
    """The table is as we wrote it."""
    write_json(out / _WRITTEN, {TABLE: sha256_file(out / TABLE)})


def _written(out: Path) -> str:
    with suppress(UserError):
        found = read_json(out / _WRITTEN)
        return str(found.get(TABLE, "")) if isinstance(found, dict) else ""
    return ""


def _foreign(path: Path) -> UserError:
    fix = "Move it away, or choose another folder with --out."
    return UserError("is not a file as mlseg wrote it here, and would be overwritten or taken for ours", path, fix)
