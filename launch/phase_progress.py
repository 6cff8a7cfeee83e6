"""How far a running phase is, from the tallies that its workers write."""

from launch.graph import Phase
from launch.phases.kinds import MapKind, kind_of
from launch.run_folder import RunFolder
from mlseg_core.progress import Tally, add_up, read_tallies


def phase_tally(run: RunFolder, phase: Phase) -> Tally | None:
    """Units done, total, rates and note of the phase over all its workers; None before it has begun."""
    kind = kind_of(phase)
    if isinstance(kind, MapKind):
        return add_up(read_tallies(kind.folder(run, phase) / "progress"))
    tallies = read_tallies(run.phase(phase) / "progress")
    return tallies[0] if tallies else None
