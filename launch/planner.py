"""The planner's decisions: which phases are neither done nor on their way, why, and whether a job may plan them again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.completion import Standing
from launch.graph import Phase
from launch.kinds import MapKind, kind_of
from launch.plans import Plan, Reason, latest_jobs, retries_in_a_row
from launch.run_folder import RunFolder
from launch.slurm_queue import QueuedJob
from launch.statuses import FAILURES


@dataclass(frozen=True)
class Missing:
    """A phase to submit, and why."""

    phase: Phase
    reason: Reason


def final_part(phase: Phase) -> str:
    """The part whose job, when it ends well, makes the phase done."""
    return "merge" if isinstance(kind_of(phase), MapKind) else "work"


def missing_phases(
    standings: Sequence[Standing], plans: list[Plan], queue: Sequence[QueuedJob], statuses: dict[str, str]
) -> list[Missing]:
    """The phases that are neither done nor on their way. statuses: phase -> last_words."""
    done = {standing.phase.name for standing in standings if standing.state == "done"}
    missing: dict[str, Missing] = {}
    for standing in standings:
        phase = standing.phase
        if phase.name in done or _is_on_its_way(phase, plans, queue, missing):
            continue
        reason = missing_reason(phase, plans, statuses.get(phase.name, ""), done)
        missing[phase.name] = Missing(phase, reason)
    return list(missing.values())


def _is_on_its_way(phase: Phase, plans: list[Plan], queue: Sequence[QueuedJob], missing: Collection[str]) -> bool:
    """True when the phase's job runs, or waits for jobs that can still end well.

    A job that waits for a missing phase never starts. SLURM says so only after a while, so its word is not waited for.
    """
    job = latest_jobs(plans, phase.name).get(final_part(phase))
    waits_in_vain = any(name in missing for name in phase.inputs)
    return any(
        queued.main == job and queued.can_run and not (waits_in_vain and queued.state == "PENDING") for queued in queue
    )


def last_words(state: Mapping[str, Any], plans: Sequence[Plan], phase: str) -> str:
    """The status in state.json, if one of the phase's newest jobs left it: an older one's excuses no job after it."""
    said_by = str(state.get("job", "")).partition("_")[0]
    return str(state.get("status", "")) if said_by in latest_jobs(plans, phase).values() else ""


def missing_reason(phase: Phase, plans: list[Plan], status: str, done: set[str]) -> Reason:
    """Why a phase that is not on its way has to be submitted. status: last_words."""
    if not latest_jobs(plans, phase.name) or any(name not in done for name in phase.inputs):
        return "new"
    if status == "interrupted":
        return "interrupted"
    return "failed" if status in FAILURES else "lost"


def has_failed(plans: Sequence[Plan], item: Missing) -> bool:
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


def refusal(run: RunFolder, missing: list[Missing], plans: list[Plan], words: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a re-planning job leaves it to a person. words: phase -> verdict (verdict.py)."""
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
