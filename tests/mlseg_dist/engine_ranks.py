"""Three optimizer steps of a small network through an engine, on the ranks that torchrun started; and without an engine.

`python -m torch.distributed.run ... -m tests.mlseg_dist.engine_ranks FOLDER ENGINE` is one rank: it runs every scenario that
its world can, and writes what happened to FOLDER/RANK.pt.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from mlseg_dist.config import IGNORED, HeadWeights, LossConfig, TrainConfig
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.training.batchnorm import RunningStatistics
from mlseg_dist.training.engine import join_world, make_engine

STEPS, LR = 3, 0.01
SCENARIOS = {
    "micro-batch": LossConfig(),
    "step": LossConfig(group="step"),
    "no low head": LossConfig(heads=HeadWeights(low=0.0)),
}
"""Each is 4 micro-batches a step; `step` only on 4 ranks, and on 2 with 2 micro-batches."""


class TwoViews(nn.Module):
    """Small, with BatchNorm, three heads, and parameters that only the low head needs."""

    def __init__(self) -> None:
        super().__init__()
        self.high, self.low = self._branch(), self._branch()
        self.high_head, self.merged_head = nn.Conv2d(8, 3, 1), nn.Conv2d(16, 3, 1)
        self.low_head = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))

    def _branch(self) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before in (3, 8):
            layers += [nn.Conv2d(before, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU()]
        return nn.Sequential(*layers)

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        high, low = self.high(high), self.low(low)
        merged = self.merged_head(torch.cat([high, low], 1))
        return {"merged": merged, "high": self.high_head(high), "low": self.low_head(low)}


def network() -> TwoViews:
    torch.manual_seed(7)
    return TwoViews()


def micro_batch(step: int, number: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Views and labels. They differ in what is labelled: 1 lacks a class, 2 has no label on low, 3 has few."""
    random = torch.Generator().manual_seed(100 * step + number)
    views = {name: torch.randn(4, 3, 16, 16, generator=random) for name in ("high", "low")}
    targets = {}
    for name in views:
        labels = torch.randint(0, 2 if number == 1 else 3, (4, 16, 16), generator=random, dtype=torch.uint8)
        share = 0.9 if number == 3 else 1.0 if number == 2 and name == "low" else 0.3
        targets[name] = torch.where(torch.rand(4, 16, 16, generator=random) < share, IGNORED, labels)
    return views, targets


def through_engine(name: str, engine_name: str, micro_batches: int, world) -> dict:
    """Losses of this rank's micro-batches, gradients as Adam sees them, and the end's parameters and buffers."""
    train = TrainConfig(
        engine=engine_name,
        micro_batches_per_step=micro_batches,
        quads_per_micro_batch=1,
        precision="fp32",
        clip_norm=1e9,
    )
    engine = make_engine(network(), train, world)
    statistics = RunningStatistics(engine.module)
    loss_of = SegmentationLoss(SCENARIOS[name], "dynamic")
    losses, gradients, norms = {}, [], []
    engine.optimizer.register_step_pre_hook(
        lambda *_: gradients.append({n: p.grad.clone() for n, p in engine.module.named_parameters()})
    )
    for step in range(STEPS):
        for number in range(world.rank, micro_batches, world.size):
            views, targets = micro_batch(step, number)
            statistics.begin()
            loss, _ = loss_of(engine.forward(views["high"], views["low"]), targets)
            statistics.keep()
            engine.backward(loss)
            engine.step(LR)
            losses[step, number] = loss.item()
        statistics.advance()
        norms.append(engine.gradient_norm)
    state = {key: value.clone() for key, value in engine.module.state_dict().items()}
    return {"losses": losses, "gradients": gradients, "norms": norms, "state": state}


def without_engine(name: str, micro_batches: int) -> dict:
    """The first step in float64 on one process; with `group: step` all samples form one group."""
    model = network().double()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.0
    loss_of = SegmentationLoss(SCENARIOS[name], "dynamic")
    batches = [micro_batch(0, number) for number in range(micro_batches)]
    logits = [model(*(view.double() for view in views.values())) for views, _ in batches]
    if name == "step":
        all_logits = {head: torch.cat([x[head] for x in logits]) for head in logits[0]}
        losses = [loss_of(all_logits, {v: torch.cat([t[v] for _, t in batches]) for v in ("high", "low")})[0]]
    else:
        losses = [loss_of(x, targets)[0] for x, (_, targets) in zip(logits, batches, strict=True)]
    torch.stack(losses).mean().backward()
    gradient = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    return {"losses": [loss.item() for loss in losses], "gradient": gradient}


def main() -> None:
    folder, engine_name = sys.argv[1:]
    world = join_world(TrainConfig(engine=engine_name, threads=1))
    found = {}
    for name in SCENARIOS:
        micro_batches = world.size if name == "step" else 4
        found[name] = through_engine(name, engine_name, micro_batches, world)
    found["deepspeed imported"] = "deepspeed" in sys.modules
    torch.save(found, Path(folder) / f"{world.rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
