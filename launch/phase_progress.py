"""How far a running phase is, from the tallies that its workers write."""

import time
from pathlib import Path

from launch.graph import Phase
from launch.kinds import MapKind, kind_of
from launch.run_folder import RunFolder
from mlseg_core.progress import Tally, read_tallies

_STALE_S = 120.0


def phase_tally(run: RunFolder, phase: Phase) -> Tally | None:
    """Units done, total, rate and note of the phase over all its workers; None before it has begun."""
    kind = kind_of(phase)
    if not isinstance(kind, MapKind):
        tallies = read_tallies(run.phase(phase) / "progress")
        return tallies[0] if tallies else None
    folder = kind.folder(run, phase)
    tallies = read_tallies(folder / "progress")
    if not tallies:
        return None
    newest = max(tallies, key=lambda tally: tally.updated)
    rate = sum(tally.rate for tally in tallies if time.time() - tally.updated < _STALE_S)
    return Tally(newest.unit, _count(folder / "done"), newest.total, rate, newest.note, newest.updated)


def _count(folder: Path) -> int:
    return sum(1 for path in folder.glob("*.json") if not path.name.startswith("."))
