"""One row in a process of its own: builds the network, warms it, times it at each batch size.

    python -m benchmarks.model.row JOB.json

First labelling at all batch sizes, then training at all; a batch size that runs out of device memory ends its series.
Says one line of JSON: what the network is, and a point for each (work, batch).
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.processes import peak_mib
from benchmarks.model.counting import Counter, Op, loss_ops, optimizer_op
from benchmarks.model.networks import PUBLISHED, ROWS, Scale, fitting_side
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.device import settle_cpu
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.model import fold_norms

_LEAST_REPEATS = 2
_UNLABELLED = 0.1  # share of the pixels


@dataclass(frozen=True)
class Job:
    """What a row is asked for.

    side: of the views, px; a row takes the nearest below that fits. seconds: to repeat a point for, once warm.
    backend: of torch.compile.
    count: whether to count operators (one more pass a point).
    """

    row: str
    side: int
    batches: tuple[int, ...]
    device: str = "cpu"
    compile: bool = False
    backend: str = "inductor"
    seconds: float = 3.0
    threads: int = 0
    count: bool = True
    scale: Scale = PUBLISHED

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Job":
        fields = json.loads(path.read_text())
        return cls(**fields | {"batches": tuple(fields["batches"]), "scale": Scale(**fields["scale"])})


@dataclass(frozen=True)
class Point:
    """One row doing one kind of work (`label`, `train`) at one batch size. ms: of a batch, the median.

    peak_mib: CPU, resident memory of the process; GPU, allocated by torch. ops: [multiply-adds, bytes] of every operator.
    """

    work: str
    batch: int
    ms: float
    repeats: int
    peak_mib: float
    ops: list[tuple[int, int]]


class Bench:
    """A network on its device, with all that a step needs."""

    def __init__(self, job: Job) -> None:
        settle_cpu(job.threads)
        torch.manual_seed(0)
        row = ROWS[job.row]
        self.job, self.device = job, torch.device(job.device)
        with torch.device(self.device):
            model = row.build(job.scale)
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.side = fitting_side(self.model, job.side)
        self.loss = SegmentationLoss(row.loss, "dynamic").to(self.device) if row.loss else None
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True)
        self.forward = self._compiled(self.model)
        self.answer = self._compiled(fold_norms(self.model))
        self.measure = self._compiled(self.loss) if self.loss is not None else None

    def _compiled(self, module: torch.nn.Module) -> Callable[..., Any]:
        if not self.job.compile:
            return module
        made: Callable[..., Any] = torch.compile(module, dynamic=False, backend=self.job.backend)
        return made

    def about(self) -> dict[str, Any]:
        """Parameters, multiply-adds of a pair's forward, sides of views and logits."""
        views, _ = self.batch(1)
        with torch.inference_mode(), FlopCounterMode(display=False) as flops:
            out = self.model.eval()(*views)
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "gmac": flops.get_total_flops() / 2e9,
            "side": self.side,
            "output_side": out["high"].shape[-1] if self.loss is not None else 0,
        }

    def batch(self, size: int) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Random views, channels last, and labels of which a part is unlabelled."""
        generator = torch.Generator(self.device).manual_seed(1)
        shape, grid = (size, 3, self.side, self.side), (size, self.side, self.side)
        views, labels = [], {}
        for view in ("high", "low"):
            image = torch.randn(shape, generator=generator, device=self.device)
            views.append(image.to(memory_format=torch.channels_last))
            label = torch.randint(len(CLASSES), grid, generator=generator, device=self.device, dtype=torch.uint8)
            blank = torch.rand(grid, generator=generator, device=self.device) < _UNLABELLED
            labels[view] = label.masked_fill(blank, IGNORED)
        return views, labels

    def label(self, views: list[torch.Tensor], _: dict[str, torch.Tensor]) -> None:
        """A labelling pass: all heads of a batch, norms folded into convolutions as a teacher has them."""
        with torch.inference_mode(), self.autocast():
            self.answer(*views)

    def train(self, views: list[torch.Tensor], labels: dict[str, torch.Tensor]) -> None:
        """A whole optimizer step."""
        with self.autocast():
            out = self.forward(*views)
        total = self.measure(out, labels)[0] if self.measure is not None else _mean_square(out)
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def count(self, work: str, views: list[torch.Tensor]) -> list[Op]:
        """The operators of one batch, without compile. Loss and optimizer follow a rule and not their operators."""
        with torch.set_grad_enabled(work == "train"), self.autocast(), Counter() as counter:
            out = self.model(*views)
        if work == "label":
            return counter.ops
        seeds = {head: torch.ones_like(maps) for head, maps in out.items() if self.weight(head)}
        with counter:
            torch.autograd.backward([out[head] for head in seeds], list(seeds.values()))
        self.optimizer.zero_grad(set_to_none=True)
        trained = [out[head] for head in seeds] if self.loss is not None else []
        return [*counter.ops, *loss_ops(trained), optimizer_op(self.model.parameters())]

    def weight(self, head: str) -> float:
        config = ROWS[self.job.row].loss
        return config.heads.low if config and head == "low" else 1.0

    def autocast(self) -> Any:
        """bf16 on a GPU, float32 on a CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def points(bench: Bench) -> Iterator[Point]:
    """A point for each kind of work and batch size that fits into memory."""
    for work in ("label", "train"):
        bench.model.train(work == "train")
        for batch in bench.job.batches:
            try:
                yield _point(bench, work, batch)
            except torch.OutOfMemoryError:
                bench.optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
                break


def _point(bench: Bench, work: str, batch: int) -> Point:
    if bench.job.compile:
        torch.compiler.reset()  # each batch size gets a program of its own
    data = bench.batch(batch)
    step = bench.label if work == "label" else bench.train
    ops = [(op.macs, op.bytes) for op in bench.count(work, data[0])] if bench.job.count else []
    step(*data)
    bench.wait()
    times: list[float] = []
    with _peak(bench.device) as peak:
        start = time.perf_counter()
        while len(times) < _LEAST_REPEATS or time.perf_counter() - start < bench.job.seconds:
            before = time.perf_counter()
            step(*data)
            bench.wait()
            times.append(1000 * (time.perf_counter() - before))
    return Point(work, batch, statistics.median(times), len(times), peak(), ops)


def _mean_square(out: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([maps.float().square().mean() for maps in out.values()]).sum()


@contextmanager
def _peak(device: torch.device) -> Iterator[Callable[[], float]]:
    """Within it a new peak is measured, MiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device) / 2**20
    else:
        Path(f"/proc/{os.getpid()}/clear_refs").write_text("5")  # the peak becomes what is resident now
        yield peak_mib


def main() -> None:
    bench = Bench(Job.read(Path(sys.argv[1])))
    about = bench.about()
    print(json.dumps({"about": about, "points": [asdict(point) for point in points(bench)]}), flush=True)


if __name__ == "__main__":
    main()
