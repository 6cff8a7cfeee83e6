"""RUN/aside: outputs that an edit made invalid, each with an inventory of its files, made when it was set aside.

Only what an inventory names, with the size that it names, is ever deleted there. What a person had put into the folder before, or
puts there later, stays and is named. Folders that older versions set aside have no inventory; theirs is made when they are cleaned.
"""

import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.run_folder.own_files import own_empty_folders, own_files, own_links
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json
from mlseg_core.own import is_regular, leads_out, walk_files

INVENTORY = ".mlseg-files.json"
"""The file in the folder that was set aside."""
_STAMPED = re.compile(r"(?P<name>.+)-\d{8}-\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True)
class AsideContent:
    """What lies in `folder`, RUN/aside.

    files: ours, with bytes.  links: W&B's own.  empty: folders of ours that are empty.  left: names in `folder` of what stays.
    """

    folder: Path
    files: dict[Path, int]
    links: tuple[Path, ...]
    empty: tuple[Path, ...]
    left: tuple[str, ...]
    inventories: tuple[Path, ...]


def set_aside(path: Path, aside: Path) -> None:
    """Move an output folder there, with its inventory. A symbolic link is moved as it is: we may not delete what is behind it."""
    aside.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        write_json(path / INVENTORY, {"version": 1, "name": path.name, **_own(path, path.name)})
    path.rename(aside / f"{path.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")


def look(aside: Path) -> AsideContent:
    """What can be deleted and what stays. Only reads. Raises UserError where RUN/aside is a symbolic link."""
    if aside.is_symlink():
        fix = "Clean the folder that it leads to by hand."
        raise UserError("is a symbolic link; nothing is deleted behind it", aside, fix)
    files: dict[Path, int] = {}
    links: list[Path] = []
    empty: list[Path] = []
    inventories: list[Path] = []
    for folder in sorted(path for path in aside.glob("*") if path.is_dir() and not path.is_symlink()):
        found = _inventory(folder)
        if found:
            inventories.append(folder / INVENTORY)
        else:
            found = _made_now(folder)
        for name, size in found["files"].items():
            file = folder / name
            if not leads_out(file, aside) and is_regular(file) and file.stat().st_size == size:
                files[file] = size
        for name, target in found["links"].items():
            link = folder / name
            if link.is_symlink() and not leads_out(link.parent, aside) and os.readlink(link) == target:  # noqa: PTH115
                links.append(link)
        empty += [folder / name for name in found["folders"]]
    ours = {*files, *links, *inventories}
    left = tuple(name for name in sorted(walk_files(aside)) if aside / name not in ours and not name.endswith("/"))
    return AsideContent(aside, files, tuple(links), tuple(empty), left, tuple(inventories))


def clean_aside(found: AsideContent) -> None:
    """Delete what look() named, then the folders that are empty because of it. An inventory goes with its folder."""
    emptied = {parent for path in (*found.files, *found.links) for parent in path.parents}
    for path in (*found.files, *found.links):
        path.unlink(missing_ok=True)
    _remove_empty({*emptied, *found.empty}, found.folder)
    for path in found.inventories:
        if list(walk_files(path.parent)) == [INVENTORY]:
            path.unlink(missing_ok=True)
    _remove_empty({found.folder, *(path.parent for path in found.inventories), *emptied}, found.folder)


def _remove_empty(places: set[Path], root: Path) -> None:
    for place in sorted(places, key=lambda place: len(place.parts), reverse=True):
        for empty in (place, *place.parents):
            if not empty.is_relative_to(root) or empty.is_symlink():
                break
            try:
                empty.rmdir()
            except OSError:  # somebody else's files lie there, or the inventory
                break


def _own(folder: Path, name: str) -> dict[str, Any]:
    return {"files": own_files(folder, name), "links": own_links(folder), "folders": own_empty_folders(folder)}


def _inventory(folder: Path) -> dict[str, Any]:
    """The folder's inventory; {} if it has none of ours."""
    with suppress(UserError):
        found = read_json(folder / INVENTORY)
        if isinstance(found, dict) and {"version", "name", "files", "links", "folders"} <= found.keys():
            return found
    return {}


def _made_now(folder: Path) -> dict[str, Any]:
    match = _STAMPED.fullmatch(folder.name)
    return _own(folder, match["name"]) if match else {"files": {}, "links": {}, "folders": []}
