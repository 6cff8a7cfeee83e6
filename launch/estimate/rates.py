"""How fast phases went: measured from what they left behind, kept in rates.json, and used to tell what a plan will cost.

In: run folders with phases that are done. Out: a rate a phase, per rank (training) or per worker (maps).
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launch.config import CampaignConfig
from launch.graph import Phase
from launch.phases import MapKind, job_of, kind_of
from launch.resources.gpus import asked_gpus
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, read_json, read_json_lines, write_json
from mlseg_core.progress import read_tallies
from mlseg_dist.events import read_events

FILE = "rates.json"


@dataclass(frozen=True)
class Rate:
    """How fast one phase was.

    per_s: units (`pairs`, `slides`, `steps`, `passes`) a second of one rank or worker; 0 with `seconds` for a phase that is not
    counted in units.  gpus: of that rank or worker.  network: what was trained or asked, as a hash.
    overhead_s: of a training phase, besides its steps: start, validation, checkpoints.
    """

    phase: str
    kind: str
    unit: str
    per_s: float
    members: int
    gpus: float
    network: str = ""
    seconds: float = 0.0
    overhead_s: float = 0.0


def measured(config: CampaignConfig, graph: Sequence[Phase], run: RunFolder) -> list[Rate]:
    """Rates of the phases that are done; those that left no record of their speed are left out."""
    found = []
    for phase in graph:
        if (run.phase(phase) / "done.json").exists():
            rate = _rate(config, phase, run)
            if rate is not None:
                found.append(rate)
    return found


def keep(run: RunFolder, rates: Sequence[Rate]) -> None:
    """Write RUN/rates.json."""
    write_json(run.path / FILE, {"version": 1, "rates": [asdict(rate) for rate in rates]})


def read(path: Path) -> list[Rate]:
    """The rates in a rates.json. Raises UserError."""
    raw = read_json(path)
    try:
        return [Rate(**row) for row in raw["rates"]]
    except (TypeError, KeyError) as error:
        raise UserError(f"not a file of rates ({error})", path, "Give the rates.json of a run folder.") from None


def choose(rates: Sequence[Rate], config: CampaignConfig, phase: Phase) -> Rate | None:
    """The rate that tells most of a phase: its own, else that of its network, else None."""
    same = [rate for rate in rates if rate.kind == phase.kind and rate.network == network_of(config, phase)]
    own = [rate for rate in same if rate.phase == phase.name]
    found = own or same
    return found[-1] if found else None


def network_of(config: CampaignConfig, phase: Phase) -> str:
    """Hash of what determines the speed of a phase that trains or runs a network; "" for others."""
    if phase.kind in ("generators", "style"):
        return fingerprint([config.style.decides(), config.shards.store_px, config.train.precision])[:16]
    if phase.kind not in ("train", "label"):
        return ""
    step = config.steps[phase.step - (phase.kind == "label")]
    side = config.train.patch_px if phase.kind == "train" else config.shards.store_px
    facts: list[Any] = [step.model.model_dump(mode="json"), config.shards.ratio, side, config.train.precision]
    return fingerprint(facts)[:16]


def _rate(config: CampaignConfig, phase: Phase, run: RunFolder) -> Rate | None:
    job, network = job_of(config, phase), network_of(config, phase)
    node_gpus = float(asked_gpus(job).per_node)
    gpus = node_gpus / job.tasks_per_node
    if phase.kind == "train":
        records = read_json_lines(run.phase(phase) / "metrics.jsonl")
        lines = [line for line in records if line.get("kind") == "train" and line.get("pairs_s")]
        if not lines:
            return None
        ranks = _ranks(run, phase) or job.tasks
        warm = lines[1:] or lines  # the first line holds the start
        speed = statistics.median(line["pairs_s"] for line in warm)
        took = read_json(run.phase(phase) / "done.json")["seconds"]
        beside = max(
            0.0, took - lines[-1]["step"] * config.train.samples_per_step / speed
        )  # 0 for one that was continued
        return Rate(phase.name, phase.kind, "pairs", speed / ranks, ranks, gpus, network, overhead_s=round(beside, 1))
    if phase.kind == "generators":
        tallies = [tally for tally in read_tallies(run.phase(phase) / "progress") if tally.rate > 0]
        if not tallies:
            return None
        speed = statistics.median(tally.rate for tally in tallies)
        return Rate(phase.name, phase.kind, "steps", speed, len(tallies), gpus, network)
    kind = kind_of(phase)
    if isinstance(kind, MapKind):
        return _map_rate(kind, phase, run, gpus, network)
    seconds = read_json(run.phase(phase) / "done.json")["seconds"]
    return Rate(phase.name, phase.kind, "", 0.0, 1, node_gpus, network, seconds)


def _map_rate(kind: MapKind, phase: Phase, run: RunFolder, gpus: float, network: str) -> Rate | None:
    tallies = [tally for tally in read_tallies(kind.folder(run, phase) / "progress") if tally.rate > 0]
    if not tallies:
        return None
    units = sum(tally.rate for tally in tallies)
    if phase.kind in ("slides", "evaluate"):
        unit = "slides" if phase.kind == "slides" else "passes"
        return Rate(phase.name, phase.kind, unit, units / len(tallies), len(tallies), gpus, network)
    totals = read_json(kind.manifest(run, phase))["totals"]
    pairs_a_unit = totals["samples"] / max(1, tallies[0].total)
    return Rate(phase.name, phase.kind, "pairs", units * pairs_a_unit / len(tallies), len(tallies), gpus, network)


def _ranks(run: RunFolder, phase: Phase) -> int:
    """Ranks of the attempt that ended the phase; 0 if that was not recorded."""
    starts = [event for event in read_events(run.phase(phase)) if event["event"] == "started"]
    return int(starts[-1]["ranks"]) if starts else 0
