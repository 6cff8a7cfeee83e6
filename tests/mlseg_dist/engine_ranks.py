"""A few optimizer steps of a small network through an engine, on the ranks that torchrun started; and without an engine.

`python -m torch.distributed.run ... -m tests.mlseg_dist.engine_ranks FOLDER ENGINE STATES` is one rank: it runs every scenario that
its world can, skips steps, continues from every state in STATES, and writes what happened to FOLDER/RANK.pt. ENGINE: `ddp`,
`deepspeed`, `zero1`, `zero2`.
"""

import copy
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from mlseg_dist.config import IGNORED, HeadWeights, LossConfig, TrainConfig
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.training.engine import join_world, make_engine
from mlseg_dist.training.sharing import shared_by
from mlseg_dist.training.state.average import Average
from mlseg_dist.training.state.batchnorm import RunningStatistics

STEPS, LR = 3, 0.01
SCENARIOS = {
    "micro-batch": LossConfig(),
    "step": LossConfig(group="step"),
    "no low head": LossConfig(heads=HeadWeights(low=0.0)),
}
"""Each is 4 micro-batches a step, which `step` shares out as one a rank, of 16, 8 or 4 samples on 1, 2 or 4 ranks. There
BatchNorm keeps its first statistics: over a larger micro-batch they would be others."""

SAVED = ("zero2-2", "ddp-1")
"""Engine and ranks whose state the later ones continue from."""


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


def settings(engine_name: str, micro_batches: int, clip_norm: float = 1e9) -> TrainConfig:
    return TrainConfig(
        engine="ddp" if engine_name == "ddp" else "deepspeed",
        zero=int(engine_name[4:]) if engine_name.startswith("zero") else 0,
        micro_batches_per_step=micro_batches,
        quads_per_micro_batch=1,
        precision="fp32",
        clip_norm=clip_norm,
    )


def joined(step: int, numbers: range) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Several micro-batches as one."""
    parts = [micro_batch(step, number) for number in numbers]
    views, targets = (
        {name: torch.cat([x[name] for x in side]) for name in side[0]} for side in zip(*parts, strict=True)
    )
    return views, targets


class Training:
    """What the loop of mlseg_dist/training/loop.py does with an engine."""

    def __init__(self, train: TrainConfig, config: LossConfig, world) -> None:
        train = shared_by(train, config, world.size)
        self.world, self.micro_batches = world, train.micro_batches_per_step
        self.at_once = train.quads_per_micro_batch  # a micro-batch of the scenario is one quad
        self.engine = make_engine(network(), train, world)
        self.engine.module.train(config.group == "micro-batch")
        self.statistics = RunningStatistics(self.engine.module)
        self.average = Average(self.engine.module, 0.9)
        self.loss_of = SegmentationLoss(config, "dynamic")

    def step(self, step: int, poison=None) -> dict:
        """Losses of this rank's micro-batches. poison: (number, how) of the micro-batch that is made not finite."""
        losses = {}
        for number in range(self.world.rank, self.micro_batches, self.world.size):
            views, targets = joined(step, range(number * self.at_once, (number + 1) * self.at_once))
            how = poison[1] if poison and poison[0] == number else None
            if how == "pixel":
                views["high"][0, 0, 0, 0] = torch.inf
            loss, _ = self.loss_of(self.engine.forward(views["high"], views["low"]), targets)
            self.statistics.keep()
            if how == "loss":
                loss = loss + torch.inf  # its gradient is finite
            if how == "gradient":
                loss.register_hook(lambda gradient: gradient * torch.inf)  # the loss is finite
            self.engine.backward(loss)
            self.engine.step(LR)
            losses[step, number] = loss.item()
        self.statistics.advance(self.engine.finite)
        self.average.update(self.engine.finite)
        return losses

    def everything(self) -> dict[str, torch.Tensor]:
        """Parameters, buffers, Adam's state and the average, flat, copied. All ranks call."""
        state = self.engine.state()
        found = {f"model.{name}": value for name, value in state["model"].items()}
        for number, moments in state["optimizer"]["state"].items():
            found |= {f"adam.{number}.{name}": value for name, value in moments.items()}
        found |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        return {name: value.detach().clone() for name, value in found.items()}

    def load(self, state: dict) -> None:
        self.engine.load(state)
        self.average.load_state_dict(state["average"])
        self.statistics.reload()


def through_engine(name: str, engine_name: str, world) -> dict:
    """Losses of this rank's micro-batches, gradients as Adam sees them, and the end's parameters and buffers."""
    training = Training(settings(engine_name, 4), SCENARIOS[name], world)
    engine = training.engine
    losses, gradients, norms = {}, [], []

    def seen() -> list[torch.Tensor]:
        if engine_name.startswith("zero"):
            return engine.gather(engine.optimizer.param_groups[0]["params"][0].grad)
        return [parameter.grad for parameter in engine.module.parameters()]

    names = [name for name, _ in engine.module.named_parameters()]
    engine.optimizer.register_step_pre_hook(
        lambda *_: gradients.append({n: g.clone() for n, g in zip(names, seen(), strict=True)})
    )
    for step in range(STEPS):
        losses |= training.step(step)
        norms.append(engine.gradient_norm)
        assert bool(engine.finite)
    state = {key: value.clone() for key, value in engine.module.state_dict().items()}
    return {"losses": losses, "gradients": gradients, "norms": norms, "state": state}


def clipped(engine_name: str, world) -> dict:
    """Two steps whose gradient is far above the bound, and above 1: norms before clipping, and where they lead."""
    training = Training(settings(engine_name, 4, clip_norm=3.0), LossConfig(heads=HeadWeights(answer=40.0)), world)
    norms = []
    for step in range(2):
        training.step(step)
        norms.append(training.engine.gradient_norm)
    return {"norms": norms, "end": training.everything()}


def skipping(engine_name: str, world) -> dict:
    """For each way of not being finite: the first step and the third are skipped. Beside it the same without those steps."""
    found = {}
    for how in ("loss", "gradient", "pixel", None):
        training = Training(settings(engine_name, 4), LossConfig(), world)
        verdicts, norms, untouched = [], [], []
        for step, taken in ((7, False), (0, True), (8, False), (1, True)):
            if how is None and not taken:
                continue
            before = training.everything()
            # The last micro-batch is another rank's than the first, and is accumulated upon where there are fewer ranks.
            training.step(step, None if taken else (3 if step == 7 else 0, how))
            verdicts.append(bool(training.engine.finite))
            norms.append(training.engine.gradient_norm)
            after = training.everything()
            untouched.append(all(torch.equal(after[name], before[name]) for name in before))
        found[str(how)] = {"taken": verdicts, "norms": norms, "untouched": untouched, "end": training.everything()}
    return found


def continuing(engine_name: str, world, states: Path) -> dict:
    """Four steps; the last two again from the state after two, and from every state in `states`. All ends."""

    def fresh() -> Training:
        return Training(settings(engine_name, 4), LossConfig(), world)

    whole = fresh()
    for step in range(2):
        whole.step(step)
    state = copy.deepcopy({**whole.engine.state(), "average": whole.average.state_dict()})
    for step in range(2, 4):
        whole.step(step)
    ends = {"whole": whole.everything()}
    others = {path.stem: torch.load(path, weights_only=True) for path in sorted(states.glob("*.pt"))}
    for name, origin in {"own": state, **others}.items():
        training = fresh()
        training.load(copy.deepcopy(origin))
        for step in range(2, 4):
            training.step(step)
        ends[name] = training.everything()
    # Back to a state with an engine that has gone on, as after a rollback.
    whole.load(copy.deepcopy(state))
    for step in range(2, 4):
        whole.step(step)
    ends["back"] = whole.everything()
    dist.barrier()
    if world.rank == 0 and f"{engine_name}-{world.size}" in SAVED:
        torch.save(state, states / f"{engine_name}-{world.size}.pt")
    return ends


def without_engine(name: str) -> dict:
    """The first step in float64 on one process; with `group: step` all samples form one group."""
    model = network().double().train(name != "step")
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.0
    loss_of = SegmentationLoss(SCENARIOS[name], "dynamic")
    batches = [micro_batch(0, number) for number in range(4)]
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
    folder, engine_name, states = sys.argv[1:]
    world = join_world(settings(engine_name, 4))
    torch.set_num_threads(1)
    found = {}
    for name in SCENARIOS:
        found[name] = through_engine(name, engine_name, world)
    found["clipped"] = clipped(engine_name, world)
    found["skipping"] = skipping(engine_name, world)
    found["continuing"] = continuing(engine_name, world, Path(states))
    found["deepspeed imported"] = "deepspeed" in sys.modules
    torch.save(found, Path(folder) / f"{world.rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
