"""The rows: what makes one optimizer step of the demo's m-UNet out of the same micro-batches.

Plain loops are what one would write with torch or DeepSpeed alone; ours is the engine as mlseg_dist/training/train.py drives it,
with the parts it adds one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from launch.config import load_campaign
from mlseg_dist.config import TrainConfig
from mlseg_dist.inference import normalise
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.model import build_model, channels_last
from mlseg_dist.training.average import Average
from mlseg_dist.training.batchnorm import RunningStatistics
from mlseg_dist.training.engine import World, make_engine

LR = 1e-3
CLIP = 1.0
STEP = "master-1"

Views = dict[str, torch.Tensor]
Step = Callable[[], None]


@dataclass(frozen=True)
class Bench:
    """What all rows share. batches: (views, labels) of this rank's micro-batches of a step, on the device."""

    config_file: str
    train: TrainConfig
    world: World
    batches: list[tuple[Views, Views]]

    @property
    def bf16(self) -> bool:
        return self.train.precision == "bf16"

    def network(self) -> nn.Module:
        row = next(step for step in load_campaign(self.config_file).steps if step.name == STEP)
        return build_model(row.model, 4, self.train.bn_momentum, seed=1).to(self.world.device).train()

    def criterion(self) -> SegmentationLoss:
        return SegmentationLoss(load_campaign(self.config_file).loss, "dynamic").to(self.world.device)

    def forward(self, network: Callable[..., Views], loss_of: SegmentationLoss, number: int) -> torch.Tensor:
        views, labels = self.batches[number]
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
            logits = network(normalise(views["high"]), normalise(views["low"]))
        loss: torch.Tensor = loss_of(logits, labels)[0]
        return loss


def micro_batch(train: TrainConfig, number: int, device: torch.device) -> tuple[Views, Views]:
    """Noise with labels of all classes."""
    noise = torch.Generator().manual_seed(number)
    shape = (4 * train.quads_per_micro_batch, train.patch_px, train.patch_px)
    views = {
        name: torch.randint(0, 256, (*shape, 3), generator=noise, dtype=torch.uint8).to(device)
        for name in ("high", "low")
    }
    labels = {
        name: torch.randint(0, 3, shape, generator=noise, dtype=torch.uint8).to(device) for name in ("high", "low")
    }
    return views, labels


def bare(bench: Bench) -> Step:
    """One process, torch alone; on several ranks each trains for itself."""
    network, loss_of = bench.network(), bench.criterion()
    channels_last(network)
    adam = torch.optim.Adam(network.parameters(), lr=LR, fused=True)

    def step() -> None:
        for number in range(len(bench.batches)):
            (bench.forward(network, loss_of, number) / len(bench.batches)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        adam.step()
        adam.zero_grad()

    return step


def plain_ddp(bench: Bench) -> Step:
    """torch's DistributedDataParallel as its manual says."""
    network, loss_of = bench.network(), bench.criterion()
    channels_last(network)
    ddp = DistributedDataParallel(network, gradient_as_bucket_view=True)
    adam = torch.optim.Adam(network.parameters(), lr=LR, fused=True)

    def step() -> None:
        for number in range(len(bench.batches)):
            ddp.require_backward_grad_sync = number + 1 == len(bench.batches)  # what no_sync() sets
            (bench.forward(ddp, loss_of, number) / len(bench.batches)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        adam.step()
        adam.zero_grad()

    return step


def plain_deepspeed(stage: int) -> Callable[[Bench], Step]:
    """DeepSpeed as its manual says, its own clipping; ZeRO's default bucket of 2 GB is cut to the model's size."""

    def make(bench: Bench) -> Step:
        import deepspeed

        network, loss_of = bench.network(), bench.criterion()
        adam = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
        config = {
            "train_micro_batch_size_per_gpu": 4 * bench.train.quads_per_micro_batch,
            "gradient_accumulation_steps": len(bench.batches),
            "gradient_clipping": CLIP,
            "zero_optimization": {"stage": stage, "reduce_bucket_size": sum(p.numel() for p in network.parameters())},
            "torch_autocast": {"enabled": bench.bf16, "dtype": "bfloat16"},
            "steps_per_print": 10**9,
        }
        engine, *_ = deepspeed.initialize(model=network, optimizer=adam, config=config)
        if stage == 0:
            channels_last(network)

        def step() -> None:
            for number in range(len(bench.batches)):
                engine.backward(bench.forward(engine, loss_of, number))
                engine.step()

        return step

    return make


def ours(ema: float | None = None, **changes: object) -> Callable[[Bench], Step]:
    """The engine with `changes` of TrainConfig, BatchNorm over the step, steps skipped together, flags agreed upon.

    Left out here: logging, health, checkpoints; they are rows of their own once they can be had without a run folder.
    """

    def make(bench: Bench) -> Step:
        train = bench.train.model_copy(update=changes)
        engine = make_engine(bench.network(), train, bench.world)
        loss_of, statistics, average = bench.criterion(), RunningStatistics(engine.module), Average(engine.module, ema)

        def step() -> None:
            for number in range(len(bench.batches)):
                statistics.begin()
                loss = bench.forward(engine.forward, loss_of, number)
                statistics.keep()
                engine.backward(loss)
                engine.step(LR)
            statistics.advance(engine.finite)
            average.update(engine.finite)
            bench.world.agree([False, False])

        return step

    return make


ROWS: dict[str, Callable[[Bench], Step]] = {
    "bare torch loop": bare,
    "torch DDP": plain_ddp,
    "DeepSpeed, stage 0": plain_deepspeed(0),
    "DeepSpeed, ZeRO 1": plain_deepspeed(1),
    "DeepSpeed, ZeRO 2": plain_deepspeed(2),
    "**ours**, DDP": ours(engine="ddp"),
    "**ours**, DeepSpeed": ours(),
    "**ours**, ZeRO 1": ours(zero=1),
    "**ours**, ZeRO 2": ours(zero=2),
    "**ours**, DeepSpeed, EMA": ours(ema=0.999),
}
"""The first is what the others are compared with."""
