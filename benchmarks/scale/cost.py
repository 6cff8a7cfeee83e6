"""The recommended campaign on paper: GPU-hours, days and bytes of each phase on some numbers of GPUs.

In: the run folder of a corpus, from whose manifests pairs and bytes are counted. Rates of GPUs are not measured here: they
are assumed from a published one, by multiply-adds; that of cutting shards was measured (results/shards.md). Out: rates as a
file that `mlseg plan --rates` takes, costs as `mlseg plan` works them out.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.common.processes import ROOT
from benchmarks.scale.campaign import settings
from launch.config import CampaignConfig, load_campaign
from launch.estimate.amounts import measure
from launch.estimate.costs import Cost, cost_of
from launch.estimate.rates import Rate, network_of
from launch.graph import Phase, build_graph
from launch.run_folder import RunFolder
from mlseg_core.files import write_json
from mlseg_dist.config import ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.summary import summarise

GPUS = (1, 8, 64)
VIEWS = 12_000_000
"""Pairs of an epoch."""
PUBLISHED_IMAGES_S, PUBLISHED_GMAC = 331.0, 4.2
"""Training EfficientNet-B4 at 380 px on one A100 with AMP (NVIDIA DeepLearningExamples); its multiply-adds (Tan and Le 2019)."""
PUBLISHED_SPEED_UP = {64: 57 / 64}
"""The same on 64 GPUs, a GPU."""
FORWARD_OF_STEP = 1 / 3
SHARDS_PAIRS_S = 89.0
"""A core, both views of 768 px cut densely: results/shards.md, median."""
_GPUS_A_NODE = 8


@dataclass(frozen=True)
class Estimate:
    """What one phase costs. costs: GPUs -> cost."""

    phase: Phase
    costs: dict[int, Cost]


def on(config_path: Path, folder: Path, gpus: int) -> CampaignConfig:
    """The recommended campaign with so many GPUs: a rank, or a worker that labels, on each; 4 samples or more at once."""
    words = settings(folder)
    a_node = min(gpus, _GPUS_A_NODE)
    size = [f"nodes={gpus // a_node}", f"tasks_per_node={a_node}", f"gpus={a_node}"]
    words += [f"cluster.train.{word}" for word in size]
    words += [f"cluster.{block}.workers={gpus}" for block in ("cut", "style", "label", "evaluate")]
    words += [f"cluster.{block}.gpus=1" for block in ("style", "label", "evaluate")]
    words += [f"train.epoch_draws={VIEWS}"]
    return load_campaign(config_path, [*words, f"train.micro_batches_per_step={max(4, gpus)}"])


def assumed_rates(config: CampaignConfig, gpus: int) -> list[Rate]:
    """Rates of cutting shards (measured), training and labelling (assumed)."""
    found = [Rate("shards", "shards", "pairs", SHARDS_PAIRS_S, 1, 0.0)]
    for phase in build_graph(config):
        if phase.kind not in ("train", "label"):
            continue
        training = phase.kind == "train"
        step = config.steps[phase.step if training else phase.step - 1]
        side = config.train.patch_px if training else config.shards.store_px
        speed = PUBLISHED_IMAGES_S * PUBLISHED_GMAC / gmac(step.model, config.shards.ratio, side)
        speed *= PUBLISHED_SPEED_UP.get(gpus, 1.0) if training else 1 / FORWARD_OF_STEP
        found.append(Rate(phase.name, phase.kind, "pairs", speed, gpus, 1.0, network_of(config, phase)))
    return found


_known: dict[str, float] = {}


def gmac(model: ModelConfig, ratio: int, side: int) -> float:
    """10^9 multiply-adds of a pair, forward."""
    key = f"{model.model_dump_json()} {ratio} {side}"
    if key not in _known:
        _known[key] = float(summarise(partial(build_model, model, ratio), side, False, None).total("gmac"))
    return _known[key]


def estimates(folder: Path, rates_path: Path | None) -> list[Estimate]:
    """folder: holds the run `scale`. rates_path: where the rates of one GPU are left as a file for `mlseg plan --rates`."""
    path = ROOT / "configs/recommended.yaml"
    costs: dict[str, dict[int, Cost]] = {}
    for gpus in GPUS:
        config = on(path, folder, gpus)
        run, graph, rates = RunFolder.of(config), build_graph(config), assumed_rates(config, gpus)
        amounts = measure(config, graph, run)
        for phase in graph:
            costs.setdefault(phase.name, {})[gpus] = cost_of(config, phase, amounts, rates)
        if rates_path is not None and gpus == GPUS[0]:
            rows = [vars(rate) | {"per_s": round(rate.per_s, 2)} for rate in rates]
            write_json(rates_path, {"version": 1, "assumed": True, "rates": rows})
    return [Estimate(phase, costs[phase.name]) for phase in graph]
