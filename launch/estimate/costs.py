"""What each phase of a plan will take: wall time, GPU-hours and bytes, from measured rates. Everything but the Amounts is pure.

Assumed: speed grows with the number of ranks or workers; time in the queue is not in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launch.config import CampaignConfig
from launch.estimate.amounts import Amounts, evaluation_passes, training_steps
from launch.estimate.rates import Rate, choose
from launch.graph import Phase
from launch.phases import MapKind, job_of, kind_of
from launch.resources.gpus import asked_gpus


@dataclass(frozen=True)
class Cost:
    """work: units (pairs, slides) to go through.  wall_s, gpu_hours: None where no rate is known; a phase that asks for no GPUs
    takes 0 GPU-hours.

    members: ranks or workers.  bytes: written, at most where pairs are not counted yet.
    """

    work: int
    unit: str
    members: int
    per_s: float | None
    wall_s: float | None
    gpu_hours: float | None
    bytes: int


def cost_of(config: CampaignConfig, phase: Phase, amounts: Amounts, rates: Sequence[Rate]) -> Cost:
    """What one phase costs from its start to its end."""
    job = job_of(config, phase)
    work, unit = _work(config, phase, amounts)
    is_map = isinstance(kind_of(phase), MapKind)
    members = min(job.map_workers, max(1, work)) if is_map else job.tasks
    if phase.kind == "generators":  # a rank trains a pair of styles at a time
        members = min(members, max(1, amounts.styling.pairs))
    gpus = asked_gpus(job).per_node * job.nodes * (job.workers if is_map else 1)
    rate = choose(rates, config, phase)
    if rate is None or (unit and not work):
        return Cost(work, unit, members, None, None, None if gpus else 0.0, amounts.bytes[phase.name])
    speed = rate.per_s * members
    wall = work / speed + rate.overhead_s if speed else rate.seconds
    return Cost(work, unit, members, speed or None, wall, wall * gpus / 3600, amounts.bytes[phase.name])


def _work(config: CampaignConfig, phase: Phase, amounts: Amounts) -> tuple[int, str]:
    if phase.kind == "slides":
        return amounts.slides, "slides"
    if phase.kind == "shards":
        return amounts.all_pairs, "pairs"
    if phase.kind == "generators":
        return amounts.styling.pairs * config.style.steps, "steps"
    if phase.kind == "style":
        return amounts.styling.samples, "pairs"
    if phase.kind == "label":
        return amounts.pairs.get("train", 0), "pairs"
    if phase.kind == "train":
        return training_steps(config, config.steps[phase.step], amounts) * config.train.samples_per_step, "pairs"
    if phase.kind == "evaluate":
        return evaluation_passes(config, amounts), "passes"
    return 0, ""


def add_up(costs: Sequence[Cost]) -> tuple[float | None, float | None, int]:
    """Wall seconds, GPU-hours (None when one of them is unknown) and bytes of phases that follow each other."""
    walls = [cost.wall_s for cost in costs]
    hours = [cost.gpu_hours for cost in costs]
    return (
        None if None in walls else math.fsum(wall for wall in walls if wall is not None),
        None if None in hours else math.fsum(hour for hour in hours if hour is not None),
        sum(cost.bytes for cost in costs),
    )
