"""Why a phase did not end well: of all that its processes said of themselves, what explains it best.

A rank whose disk is full ends first and says so; the others then lose it and say that, and the merge of a map finds units
missing. state.json holds whoever wrote last. A cause that a person has to fix must not drown in its consequences: it would
be tried again and again.
"""

from collections.abc import Sequence
from typing import Any

from launch.graph import Phase
from launch.planner import last_words
from launch.plans import Plan, latest_jobs
from launch.run_folder import RunFolder
from mlseg_core.files import read_json

_FOR_A_PERSON = "user error"


def verdict(run: RunFolder, phase: Phase, plans: Sequence[Plan]) -> dict[str, Any]:
    """status, error, log, job, … of the phase's newest jobs, or of its last local attempt where there are no plans; {} before.

    A process that met something that a person has to fix comes before state.json.
    """
    state = run.state(phase)
    if plans:
        newest = set(latest_jobs(plans, phase.name).values())
        state = state if last_words(state, plans, phase.name) else {}
    else:
        newest = {main_of(state)}
    if state.get("status") == _FOR_A_PERSON:
        return state
    for task in run.tasks(phase):
        if task.get("status") == _FOR_A_PERSON and main_of(task) in newest - {""}:
            return {**state, **task}
    return state


def main_of(said: dict[str, Any]) -> str:
    """Id of the job whose process said it; of an array, the array's."""
    return str(said.get("job", "")).partition("_")[0]


def checks_passed(run: RunFolder) -> bool:
    """False when the report checked the campaign's figures against `checks` and found one below its margin."""
    checks = run.report / "checks.json"
    return not checks.exists() or bool(read_json(checks)["passed"])
