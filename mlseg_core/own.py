"""Which files are ours: the one rule for deleting and overwriting.

A file is ours if its name has our exact form, or a record or its content shows it. Any other file belongs to somebody else and
stays as it is.

In: folders that a person may have put files into. Out: fewer of our own files; the names of those that stayed.
"""

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import TEMPORARY, sha256_file

_FILE = re.compile(
    re.escape(TEMPORARY)
    + r"(?:probe-[0-9a-f]{12}"  # a store tries whether it can be written
    + r"|\d+-[0-9a-f]{8}-.+"  # files.temporary_beside
    + r"|(?:[0-9a-f]{12}(?:-\d+-\d+)?-)?[0-9a-f]{12}-.+)"  # records.Scratch: the process that writes, a random part, the name
)
_NAMED_BY_CONTENT = re.compile(r"[a-z0-9-]+-(?P<sha256>[0-9a-f]{12})\.[a-z]+")


def is_temporary(name: str) -> bool:
    """Whether a file name has exactly the form of our temporary files. A user's `.tmp-notes` has not."""
    return _FILE.fullmatch(name) is not None


def temporaries(folder: Path, tag: str = "") -> list[Path]:
    """Our temporary files that lie directly in a folder: regular files only. tag: only those of this process.

    [] when there is no such folder. Raises OSError.
    """
    try:
        with os.scandir(folder) as entries:
            return [
                folder / entry.name
                for entry in entries
                if entry.name.startswith(f"{TEMPORARY}{tag}")
                and is_temporary(entry.name)
                and entry.is_file(follow_symlinks=False)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def walk_files(folder: Path) -> Iterator[str]:
    """Names, relative to the folder with `/`, of all that lies in it; of folders only the empty ones, with `/` at the end.

    Symbolic links are named, not followed.
    """
    for path, folders, files in os.walk(folder, followlinks=False):
        place = Path(path)
        links = [name for name in folders if (place / name).is_symlink()]
        for name in (*files, *links):
            yield (place / name).relative_to(folder).as_posix()
        if not folders and not files and place != folder:
            yield f"{place.relative_to(folder).as_posix()}/"


def remove_own(folder: Path, is_ours: Callable[[str], bool], links: Collection[str] = ()) -> list[str]:
    """Delete our regular files in a folder and below, then the folders, this one included, that are empty because of it.

    is_ours: asked with the names that walk_files gives. Never follows a symbolic link, not `folder` itself either, and deletes
    none but those that `links` names.
    Returns the names that stay: they are not ours, or cannot be deleted.
    """
    if folder.is_symlink():
        return [folder.name]
    stay: list[str] = []
    emptied = {folder}
    for name in sorted(walk_files(folder)):
        path = folder / name
        try:
            if not is_ours(name):
                stay.append(name)
            elif name.endswith("/"):
                emptied |= {path, *_parents(path, folder)}
            elif is_regular(path) or (path.is_symlink() and name in links):
                path.unlink(missing_ok=True)
                emptied |= _parents(path, folder)
            else:
                stay.append(name)
        except OSError:
            stay.append(name)
    for place in sorted(emptied, key=lambda place: len(place.parts), reverse=True):
        with suppress(OSError):  # it holds something, or is gone
            place.rmdir()
    return stay


def _parents(path: Path, folder: Path) -> set[Path]:
    return {parent for parent in path.parents if parent.is_relative_to(folder)}


def is_regular(path: Path) -> bool:
    """A file itself, no symbolic link to one."""
    return path.is_file() and not path.is_symlink()


def leads_out(path: Path, root: Path) -> bool:
    """Whether a symbolic link lies on the way from `root` to `path`, the last part included."""
    return any(root.joinpath(*parts).is_symlink() for parts in accumulate((p,) for p in path.relative_to(root).parts))


def refuse_foreign(paths: Iterable[Path], is_ours: Callable[[Path], bool]) -> None:
    """Before any work: nothing that somebody else wrote may be written over. Raises UserError for the first such path."""
    for path in paths:
        if os.path.lexists(path) and not (path.is_file() and is_ours(path)):
            raise UserError(
                "is not a file that mlseg wrote here, and would be overwritten",
                path,
                "Move it away, or name another place.",
            )


def check_folder(folder: Path, fix: str = "Name another folder.") -> None:
    """Before any work: files can be made in a folder, which need not be there yet. Raises UserError."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise UserError("is a file, not a folder", there, fix)
    try:
        tempfile.TemporaryFile(dir=there).close()  # leaves nothing; permissions alone do not tell
    except OSError as error:
        raise UserError(f"nothing may be written there ({os.strerror(error.errno or 0).lower()})", there, fix) from None


def check_file(path: Path, fix: str = "Name another file.") -> None:
    """Before any work: a file of this name can be made or replaced. Raises UserError."""
    if path.is_dir():
        raise UserError("is a folder, not a file", path, fix)
    check_folder(path.parent, fix)


def starts_with(path: Path, head: bytes) -> bool:
    """Whether a file begins so."""
    with open(path, "rb") as file:
        return file.read(len(head)) == head


def is_named_by_content(path: Path) -> bool:
    """Whether a file's name ends with the first twelve digits of its content's sha256, as those of a report's pictures do."""
    match = _NAMED_BY_CONTENT.fullmatch(path.name)
    return match is not None and sha256_file(path).startswith(match["sha256"])


def is_page(path: Path, kind: str) -> bool:
    """Whether a file is one of our HTML pages. kind: `shards`, `report` or `augmentation`, as the page's title ends."""
    with open(path, "rb") as file:
        head = file.read(1 << 14)
    return head.startswith(b"<!doctype html>") and f" – mlseg {kind}</title>".encode() in head
