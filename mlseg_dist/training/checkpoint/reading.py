"""Find and read checkpoints; nothing is taken from a file whose bytes are not those that were written."""

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from mlseg_core.files import sha256_file
from mlseg_dist.events import LogEvent
from mlseg_dist.training.checkpoint.layout import (
    CURSOR,
    META,
    is_state_file,
    own_names,
    step_folders,
    step_of,
    unlisted,
)


class Damaged(RuntimeError):
    """A checkpoint is not what was written. path: its folder. what: what is wrong with it."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what
        super().__init__(f"{path}: {what}")


def newest(folder: Path, log_event: LogEvent, below: int | None = None) -> Path | None:
    """The newest checkpoint, of a step <= `below` where that is given, all files of which verify; None: there is none.

    Each damaged one that is passed over is told as `checkpoint-damaged`.
    """
    for step, path in reversed(step_folders(folder).items()):
        if below is not None and step > below:
            continue
        if path.is_dir() and any(path.iterdir()) and not own_names(path):
            continue  # it was removed, but for what somebody else put there
        wrong = damage(path)
        if not wrong:
            return path
        text = f"checkpoint {path.name} is damaged ({wrong}); the one before it is tried"
        log_event("checkpoint-damaged", text, level="error", path=str(path), step=step, damage=wrong)
    return None


def damage(path: Path) -> str:
    """What is wrong with a checkpoint; empty: nothing. Reads all of its files."""
    try:
        for name, entry in read_meta(path).items():
            _check(path, name, entry, _sha256(path, name, entry))
        _cursor(path, _bytes(path, CURSOR))
    except Damaged as error:
        return error.what
    return ""


def load(path: Path, names: Iterable[str] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state dicts by name, on the CPU; cursor) of a checkpoint. names: only those; None: all that it has.

    Each file is read once, and only if its bytes have the size and sha256 of META.json is it unpacked. Raises Damaged.
    """
    entries = read_meta(path)
    wanted = [name.removesuffix(".pt") for name in entries if name.endswith(".pt")] if names is None else list(names)
    missing = [name for name in wanted if f"{name}.pt" not in entries]
    if missing:
        raise Damaged(path, f"has no {', '.join(f'{name}.pt' for name in missing)}")
    state = {name: _unpack(path, f"{name}.pt", _verified(path, f"{name}.pt", entries)) for name in wanted}
    return state, _cursor(path, _verified(path, CURSOR, entries))


def verified_sha256(path: Path, name: str) -> str:
    """sha256 of one file of a checkpoint, once its bytes agree with META.json. Raises Damaged."""
    entries = read_meta(path)
    if name not in entries:
        raise Damaged(path, f"{name} is not in {META}")
    _check(path, name, entries[name], _sha256(path, name, entries[name]))
    return entries[name]["sha256"]


def read_meta(path: Path) -> dict[str, dict[str, Any]]:
    """File name -> {bytes, sha256}, as META.json says. Raises Damaged when it cannot be that of this folder."""
    try:
        meta = json.loads((path / META).read_bytes())
        step, entries = meta["step"], meta["files"]
        sound = all(set(entry) == {"bytes", "sha256"} and Path(name).name == name for name, entry in entries.items())
    except FileNotFoundError:
        raise Damaged(path, f"{META} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(path, f"{META} cannot be read: {type(error).__name__}: {error}") from None
    named = sound and CURSOR in entries and all(name == CURSOR or is_state_file(name) for name in entries)
    if not named or unlisted(path, entries):
        raise Damaged(path, f"{META} is not the list of a checkpoint's files")
    if step != step_of(path):
        raise Damaged(path, f"{META} is that of step {step}")
    return entries


def _sha256(path: Path, name: str, entry: dict[str, Any]) -> str:
    """Empty where the size tells already."""
    try:
        return sha256_file(path / name) if (path / name).stat().st_size == entry["bytes"] else ""
    except OSError as error:
        raise Damaged(path, _unreadable(name, error)) from None


def _bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise Damaged(path, _unreadable(name, error)) from None


def _verified(path: Path, name: str, entries: dict[str, dict[str, Any]]) -> bytes:
    data = _bytes(path, name)
    _check(path, name, entries[name], hashlib.sha256(data).hexdigest() if len(data) == entries[name]["bytes"] else "")
    return data


def _check(path: Path, name: str, entry: dict[str, Any], sha256: str) -> None:
    if not sha256:
        raise Damaged(path, f"{name} has not the {entry['bytes']} bytes that were written")
    if sha256 != entry["sha256"]:
        raise Damaged(path, f"sha256 mismatch: {name}")


def _unpack(path: Path, name: str, data: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever torch makes of bytes that another program wrote
        raise Damaged(path, f"{name} cannot be unpacked: {error}") from error


def _cursor(path: Path, data: bytes) -> dict[str, Any]:
    try:
        cursor = json.loads(data)
    except ValueError as error:
        raise Damaged(path, f"{CURSOR} cannot be read: {error}") from None
    if not isinstance(cursor, dict):
        raise Damaged(path, f"{CURSOR} is not a mapping")
    return cursor


def _unreadable(name: str, error: OSError) -> str:
    return f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name} cannot be read: {error.strerror}"
