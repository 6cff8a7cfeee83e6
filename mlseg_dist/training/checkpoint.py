"""Checkpoints: `checkpoints/step-N/{model.pt, optimizer.pt, cursor.json, META.json}`; META hashes the others and is
written last, the folder is renamed into place, then LATEST names it. Loading takes the newest that verifies."""

import io
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from mlseg_core.files import fsync_folder, sha256_file, temporary_beside, write_atomic


def save(folder: Path, step: int, state: dict[str, dict[str, Any]], cursor: dict[str, Any], keep: int) -> Path:
    """Write `step-N`, point LATEST at it, drop all but the newest `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08d}"
    temporary = temporary_beside(target)
    temporary.mkdir()
    try:
        for name, value in state.items():
            buffer = io.BytesIO()
            torch.save(value, buffer)
            write_atomic(temporary / f"{name}.pt", buffer.getvalue())
        write_atomic(temporary / "cursor.json", json.dumps(cursor, indent=1))
        files = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
        write_atomic(temporary / "META.json", json.dumps({"step": step, "sha256": files}, indent=1))
        if target.exists():
            shutil.rmtree(target)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_folder(folder)
    write_atomic(folder / "LATEST", target.name)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_newest(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]] | None:
    """(state, cursor) of the newest checkpoint that verifies, or None. A damaged one is passed over with a loud warning."""
    for path in _newest_first(folder):
        damage = _damage(path)
        if damage:
            warnings.warn(f"CHECKPOINT DAMAGED, using the one before: {path}: {damage}", stacklevel=2)
            continue
        state = {
            name: torch.load(path / f"{name}.pt", weights_only=True, map_location="cpu")
            for name in ("model", "optimizer")
        }
        return state, json.loads((path / "cursor.json").read_text())
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint folder; empty: nothing."""
    try:
        hashes = json.loads((path / "META.json").read_text())["sha256"]
    except (OSError, ValueError, KeyError) as error:
        return f"META.json: {error}"
    for name, expected in hashes.items():
        file = path / name
        if not file.exists():
            return f"{name} is missing"
        if sha256_file(file) != expected:
            return f"{name} has another sha256"
    return ""
