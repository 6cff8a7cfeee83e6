"""What a checkpoint consists of and how its files are written: each hashed on its way to the disk and synced, META.json last."""

import hashlib
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from mlseg_core.files import TEMPORARY, fsync_folder

META = "META.json"
CURSOR = "cursor.json"
LATEST = "LATEST"
_FOLDER = re.compile(r"step-(\d{8,})")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_STATES = ("model", "optimizer", "ema", "generator", "critic", "average", "critic_optimizer")
_FILE = re.compile(rf"{_NAME.pattern}\.pt")


def step_folder(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def step_folders(folder: Path) -> dict[int, Path]:
    """Step -> its folder, as far as names tell; oldest first."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return dict(sorted((step, path) for path in paths if (step := step_of(path)) is not None))


def step_of(path: Path) -> int | None:
    """The step that a folder's name says."""
    match = _FOLDER.fullmatch(path.name)
    return int(match[1]) if match and path == step_folder(path.parent, int(match[1])) else None


def own_names(folder: Path) -> set[str]:
    """Names of the files in a checkpoint's folder that are ours: those that META.json names, and it.

    Where that cannot be read: in a temporary folder, whose name is ours alone, those of the form that saves give their files; in
    any other those that training has given them so far.
    """
    try:
        named = set(json.loads((folder / META).read_bytes())["files"])
        return {name for name in named if Path(name).name == name} | {META}
    except (OSError, ValueError, KeyError, TypeError):
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    known = {META, CURSOR, *(f"{state}.pt" for state in _STATES)}
    if folder.name.startswith(TEMPORARY):
        known |= {name for name in present if _FILE.fullmatch(name)}
    return present & known


def is_state_file(name: str) -> bool:
    """Whether a checkpoint's file of this name holds a state dict."""
    return _FILE.fullmatch(name) is not None


def unlisted(folder: Path, listed: Collection[str]) -> list[str]:
    """State dicts that training has written there and META.json does not list: it has lost them."""
    return [name for state in _STATES if (name := f"{state}.pt") not in listed and (folder / name).is_file()]


def write_files(folder: Path, step: int, state: dict[str, Any], cursor: bytes) -> dict[str, Any]:
    """Fill an empty folder and sync it; returns what META.json says. Raises OSError."""
    files: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        with _Hashed(folder / f"{name}.pt") as file:
            torch.save(value, file)  # type: ignore[arg-type]  # of a file it wants write and flush
            files[f"{name}.pt"] = file.finish()
    for name, data in ((CURSOR, cursor), (META, None)):
        with _Hashed(folder / name) as file:
            file.write(json.dumps({"step": step, "files": files}, indent=1).encode() if data is None else data)
            files[name] = file.finish()
    del files[META]
    fsync_folder(folder)
    return {"step": step, "files": files}


def check_names(state: dict[str, Any]) -> None:
    """Raises ValueError for the name of a state dict that makes no plain file name."""
    wrong = [name for name in state if not _NAME.fullmatch(name)]
    if wrong or not state:
        raise ValueError(f"names of state dicts: {wrong}; wanted: at least one, of a-z, 0-9 and _")


class _Hashed:
    """A file for torch.save. It keeps the first error for finish(): an exception does not pass well through C++."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "xb", buffering=1 << 20)  # noqa: SIM115 - closed by __exit__
        self._sha256, self._bytes = hashlib.sha256(), 0
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self._file.write(data)
                self._sha256.update(data)
                self._bytes += len(data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """finish() flushes."""

    def finish(self) -> dict[str, Any]:
        """Sync; returns size in bytes and hex sha256. Raises the first OSError since the file was opened."""
        if self._error is not None:
            raise self._error
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"bytes": self._bytes, "sha256": self._sha256.hexdigest()}

    def __enter__(self) -> "_Hashed":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError:  # what is buffered finds no room either; finish() has told
            pass
