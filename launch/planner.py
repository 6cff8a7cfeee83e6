"""The planner's decisions: which phases are neither done nor on their way, why, and whether a job may plan them again.

A rank whose disk is full ends first and says so; the others then lose it and say that, and the merge of a map finds units missing.
state.json holds whoever wrote last, so verdict() looks at what all processes said: a cause that a person has to fix must not drown
in its consequences, or it would be tried again and again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.completion import Completion
from launch.endings import FAILURES
from launch.graph import Phase
from launch.phases import MapKind, kind_of
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, Reason, latest_jobs, retries_in_a_row
from launch.slurm.queue import QueuedJob
from mlseg_core.files import read_json


@dataclass(frozen=True)
class MissingPhase:
    """A phase to submit, and why."""

    phase: Phase
    reason: Reason


def final_part(phase: Phase) -> str:
    """The part whose job, when it ends well, makes the phase done."""
    return "merge" if isinstance(kind_of(phase), MapKind) else "work"


def missing_phases(
    completions: Sequence[Completion], plans: list[JobPlan], queue: Sequence[QueuedJob], statuses: dict[str, str]
) -> list[MissingPhase]:
    """The phases that are neither done nor on their way. statuses: phase -> last_words."""
    done = {completion.phase.name for completion in completions if completion.state == "done"}
    missing: dict[str, MissingPhase] = {}
    for completion in completions:
        phase = completion.phase
        if phase.name in done or _is_on_its_way(phase, plans, queue, missing):
            continue
        reason = missing_reason(phase, plans, statuses.get(phase.name, ""), done)
        missing[phase.name] = MissingPhase(phase, reason)
    return list(missing.values())


def _is_on_its_way(phase: Phase, plans: list[JobPlan], queue: Sequence[QueuedJob], missing: Collection[str]) -> bool:
    """True when the phase's job runs, or waits for jobs that can still end well.

    A job that waits for a missing phase never starts. SLURM only says so after a while, so we do not wait for it.
    """
    job = latest_jobs(plans, phase.name).get(final_part(phase))
    waits_in_vain = any(name in missing for name in phase.inputs)
    return any(
        queued.main == job and queued.can_run and not (waits_in_vain and queued.state == "PENDING") for queued in queue
    )


def last_words(state: Mapping[str, Any], plans: Sequence[JobPlan], phase: str) -> str:
    """The status in state.json, if one of the phase's newest jobs left it: an older one's excuses no job after it."""
    said_by = str(state.get("job", "")).partition("_")[0]
    return str(state.get("status", "")) if said_by in latest_jobs(plans, phase).values() else ""


def missing_reason(phase: Phase, plans: list[JobPlan], status: str, done: set[str]) -> Reason:
    """Why a phase that is not on its way has to be submitted. status: last_words."""
    if not latest_jobs(plans, phase.name) or any(name not in done for name in phase.inputs):
        return "new"
    if status == "interrupted":
        return "interrupted"
    return "failed" if status in FAILURES else "lost"


def has_failed(plans: Sequence[JobPlan], item: MissingPhase) -> bool:
    """Whether an attempt of the phase failed or vanished since it was last submitted as new."""
    if item.reason == "new":
        return False
    for reason in (item.reason, *(plan.reasons.get(item.phase.name, "") for plan in reversed(plans))):
        if reason == "new":
            break
        if reason in ("failed", "lost"):
            return True
    return False


def for_person(phase: str, said: Mapping[str, Any]) -> str:
    """The alert of a phase that it is no use to try again. said: its verdict."""
    why = str(said.get("error", "")).removeprefix("error: ")
    return f"phase {phase} stopped for something that a person has to fix" + (f": {why}" if why else "")


def _last(said: Mapping[str, Any]) -> str:
    """What its last attempt said, where it could."""
    error = str(said.get("error", "")).partition("\n")[0] if said.get("status") in FAILURES else ""
    return f"; at last: {error}" if error else ""


def refusal(
    run: RunFolder, missing: list[MissingPhase], plans: list[JobPlan], words: Mapping[str, Mapping[str, Any]]
) -> str:
    """Why a re-planning job leaves it to a person. words: phase -> verdict (verdict)."""
    if plans and plans[-1].by == "cancel":
        return "the campaign was cancelled"
    retries = run.config().cluster.retries
    for item in missing:
        if item.reason in ("failed", "lost"):
            said = words[item.phase.name]
            if said.get("status") == "user error":
                return for_person(item.phase.name, said)
            if retries_in_a_row(plans, item.phase.name) >= retries:
                return f"phase {item.phase.name} failed {retries + 1} times{_last(said)}"
    return ""


_FOR_A_PERSON = "user error"


def verdict(run: RunFolder, phase: Phase, plans: Sequence[JobPlan]) -> dict[str, Any]:
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
