"""How long a phase took, from the first start of its first job to its end: all attempts, a map's workers and its merge.

Every process notes in its task record when it first started in this phase (`begun`) and how often it did (`starts`). done.json
keeps the earliest of these. Runs of earlier code have no such notes: their training phases are timed by the events
`started`, and of their maps only the last job's time is known.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.graph import Phase
from launch.run_folder import RunFolder
from mlseg_core.progress import clock
from mlseg_dist.events import read_events


@dataclass(frozen=True)
class Took:
    """seconds: of the whole phase, with the time between its attempts.  attempts: starts of the process that started most often.

    whole: False where only the time of its last job is known.
    """

    seconds: float
    attempts: int = 1
    whole: bool = True

    def __str__(self) -> str:
        if not self.whole:
            return f"its last job took {clock(self.seconds)}"
        return f"in {clock(self.seconds)}" + (f", {self.attempts} attempts" if self.attempts > 1 else "")


def begun(run: RunFolder, phase: Phase, otherwise: float) -> dict[str, Any]:
    """begun: when the phase's first process started, in seconds since 1970; attempts: how often it was begun."""
    tasks = run.tasks(phase)
    times = [float(task["begun"]) for task in tasks if "begun" in task]
    starts = _starts(run.phase(phase))
    return {
        "begun": min([otherwise, *times, *starts]),
        "attempts": max([1, len(starts), *(int(task.get("starts", 1)) for task in tasks)]),
    }


def took(folder: Path, done: dict[str, Any]) -> Took | None:
    """folder: of the phase.  done: its done.json; None where that says nothing of time."""
    if "seconds" not in done:
        return None
    if "begun" in done:
        return Took(done["ended"] - done["begun"], done["attempts"])
    starts = _starts(folder)
    if starts and "ended" in done:
        return Took(done["ended"] - min(starts), len(starts))
    return Took(done["seconds"], whole=done.get("kind") == "report")


def _starts(folder: Path) -> list[float]:
    """When training began or was continued."""
    return [float(event["time"]) for event in read_events(folder) if event["event"] == "started" and "time" in event]
