"""How far a running phase is: its workers' tallies, its last figures, and the last event that a person should know."""

import json
from pathlib import Path
from typing import Any

from launch.graph import Phase
from launch.phases import MapKind, kind_of
from launch.run_folder import RunFolder
from mlseg_core.progress import Tally, add_up, read_tallies
from mlseg_dist.events import read_events


def phase_tally(run: RunFolder, phase: Phase) -> Tally | None:
    """Units done, total, rates and note of the phase over all its workers; None before it has begun."""
    kind = kind_of(phase)
    if isinstance(kind, MapKind):
        return add_up(read_tallies(kind.folder(run, phase) / "progress"))
    tallies = read_tallies(run.phase(phase) / "progress")
    return tallies[0] if tallies else None


_TAIL_BYTES = 1 << 18


def last_metrics(phase: Path) -> dict[str, Any]:
    """step, loss, miou, lr, pairs_s of the newest line of training, and val_miou, val_step of the newest validation."""
    found: dict[str, Any] = {}
    for line in reversed(_tail(phase / "metrics.jsonl")):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record.get("kind") == "train" and "step" not in found:
            found |= {
                name: record[name] for name in ("step", "loss", "miou", "lr", "pairs_s", "time") if name in record
            }
        if record.get("kind") == "val" and "val_step" not in found:
            found |= {"val_miou": record.get("miou"), "val_step": record["step"]}
        if "step" in found and "val_step" in found:
            break
    return found


def last_alert(phase: Path) -> dict[str, Any] | None:
    """The newest event of level warning or error; None if there is none, or the phase finished after it."""
    for event in reversed(read_events(phase)):
        if event["event"] == "finished":
            return None
        if event["level"] in ("warning", "error"):
            return event
    return None


def _tail(path: Path) -> list[str]:
    """The last lines of the file, without the one that is cut off."""
    try:
        with open(path, "rb") as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = text.split("\n")[:-1]
    return lines[1:] if length > _TAIL_BYTES else lines
