"""The rows: what makes one optimizer step of the demo's m-UNet out of the same micro-batches.

Plain loops are what one would write with torch or DeepSpeed alone; ours is the engine as mlseg_dist/training/loop.py drives it,
with the parts it adds one by one.
"""

import atexit
import io
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from launch.config import load_campaign
from mlseg_dist.config import HealthConfig, TrackingConfig, TrainConfig
from mlseg_dist.events import Events
from mlseg_dist.inference import normalise
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.model import build_model, channels_last
from mlseg_dist.training.checkpoint import Saver
from mlseg_dist.training.engine import Engine, World, make_engine
from mlseg_dist.training.health import Pulse, Watch
from mlseg_dist.training.log import TrainingLog
from mlseg_dist.training.state.average import Average
from mlseg_dist.training.state.batchnorm import RunningStatistics
from mlseg_dist.training.window import Window

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


def bare_in_step(bench: Bench) -> Step:
    """The bare loop, but no rank begins a step before all have ended the last one: what waiting alone costs."""
    alone = bare(bench)

    def step() -> None:
        alone()
        dist.barrier()

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


def ours(ema: float | None = None, extra: "type[Extra] | None" = None, **changes: object) -> Callable[[Bench], Step]:
    """The engine with `changes` of TrainConfig, BatchNorm over the step, steps skipped together, flags agreed upon."""

    def make(bench: Bench) -> Step:
        train = bench.train.model_copy(update=changes)
        engine = make_engine(bench.network(), train, bench.world)
        loss_of, statistics, average = bench.criterion(), RunningStatistics(engine.module), Average(engine.module, ema)
        beside = extra(bench, engine) if extra else None

        def step() -> None:
            for number in range(len(bench.batches)):
                if beside:
                    beside.at("forward")
                views, labels = bench.batches[number]
                with torch.autocast(bench.world.device.type, torch.bfloat16, enabled=bench.bf16):
                    logits = engine.forward(normalise(views["high"]), normalise(views["low"]))
                loss, parts = loss_of(logits, labels)
                statistics.keep()
                if beside:
                    beside.at("backward")
                engine.backward(loss)
                engine.step(LR)
                if beside:
                    beside.add(loss, parts, logits, labels)
            statistics.advance(engine.finite)
            average.update(engine.finite)
            bench.world.agree([False, False])
            if beside:
                beside.end_step()

        if beside:
            step.settle = beside.settle  # type: ignore[attr-defined]
        return step

    return make


class Extra:
    """What a session does beside a step; this does nothing."""

    def __init__(self, bench: Bench, engine: Engine) -> None:
        self.bench, self.engine, self.step = bench, engine, 0
        self.phase = Path(tempfile.mkdtemp(prefix="mlseg-engine-"))
        atexit.register(shutil.rmtree, self.phase, ignore_errors=True)

    def at(self, stage: str) -> None: ...

    def add(self, loss: torch.Tensor, parts: Views, logits: Views, labels: Views) -> None: ...

    def end_step(self) -> None: ...

    def settle(self) -> None:
        """After the clock: nothing of this row may run beside the next one."""


class Logging(Extra):
    """A line of metrics.jsonl for every step."""

    def __init__(self, bench: Bench, engine: Engine) -> None:
        super().__init__(bench, engine)
        config = load_campaign(bench.config_file)
        off = config.model_copy(update={"tracking": TrackingConfig(enabled=False)})
        self.window = Window(bench.world, 1e9, None)
        self.journal = TrainingLog(off, self.phase, 0, 10**6) if bench.world.rank == 0 else None

    def add(self, loss: torch.Tensor, parts: Views, logits: Views, labels: Views) -> None:
        self.window.add(loss, parts, logits, labels, 0.0)

    def end_step(self) -> None:
        self.step += 1
        figures, _ = self.window.close(self.step, LR, 0.0)
        if self.journal:
            with redirect_stdout(io.StringIO()):
                self.journal.train({**figures, "epoch": 0.0, "gradient_norm": self.engine.gradient_norm})


class Health(Extra):
    """Every micro-batch says where it is, and the ranks' watches listen to each other every second."""

    def __init__(self, bench: Bench, engine: Engine) -> None:
        super().__init__(bench, engine)
        self.pulse = Pulse()
        health = HealthConfig(beat_s=1.0)
        self.watch = Watch(self.pulse, bench.world, health, self.phase, Events(self.phase).log)
        atexit.register(self.watch.end)

    def at(self, stage: str) -> None:
        self.pulse.at(stage, self.step)

    def end_step(self) -> None:
        self.step += 1
        self.watch.begin()


class Saving(Extra):
    """A checkpoint at the beginning of every step: the copy, and the step beside the writing."""

    def __init__(self, bench: Bench, engine: Engine) -> None:
        super().__init__(bench, engine)
        log_event = Events(self.phase).log
        self.saver = Saver(self.phase / "checkpoints", 2, None, log_event) if bench.world.rank == 0 else None
        self._saved = -1

    def at(self, stage: str) -> None:
        if self._saved < self.step:
            self._saved = self.step
            state = self.engine.state()
            if self.saver:
                self.saver.save(self.step, state, {"step": self.step})

    def end_step(self) -> None:
        self.step += 1

    def settle(self) -> None:
        if self.saver:
            self.saver.join()


ROWS: dict[str, Callable[[Bench], Step]] = {
    "bare torch loop": bare,
    "bare torch loop, a barrier a step": bare_in_step,
    "torch DDP": plain_ddp,
    "DeepSpeed, stage 0": plain_deepspeed(0),
    "DeepSpeed, ZeRO 1": plain_deepspeed(1),
    "DeepSpeed, ZeRO 2": plain_deepspeed(2),
    "**ours**, DDP": ours(engine="ddp"),
    "**ours**, DeepSpeed": ours(),
    "**ours**, ZeRO 1": ours(zero=1),
    "**ours**, ZeRO 2": ours(zero=2),
    "**ours**, DeepSpeed, EMA": ours(ema=0.999),
    "**ours**, DeepSpeed, a line of metrics a step": ours(extra=Logging),
    "**ours**, DeepSpeed, health": ours(extra=Health),
    "**ours**, DeepSpeed, a checkpoint in every step": ours(extra=Saving),
}
"""The first is what the others are compared with."""
