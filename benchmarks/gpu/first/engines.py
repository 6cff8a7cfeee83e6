"""Engines on one rank beside a bare loop, copies from pinned and pageable memory, and a profile of five steps."""

import gzip
import os
import socket
import statistics
import time
import warnings
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.engine import loops
from benchmarks.gpu.first.networks import job
from benchmarks.gpu.first.parts import Rows, Settings, Skipped
from benchmarks.model.networks import ROWS as NETWORKS
from benchmarks.model.row import Bench
from mlseg_core.files import write_atomic
from mlseg_dist.config import LossConfig, TrainConfig
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.training.engine import join_world

_SECONDS = 20.0
_LEAST = 3
_STEPS = 5
_TOP = 25


@dataclass(frozen=True)
class PaperSized(loops.Bench):
    """The rows of benchmarks.engine with the m-UNet of this benchmark in place of the demo's."""

    settings: Settings

    def network(self) -> torch.nn.Module:
        torch.manual_seed(1)
        asked = job(self.settings)
        return NETWORKS[asked.row].build(asked.scale).to(self.world.device).train()

    def criterion(self) -> SegmentationLoss:
        return SegmentationLoss(LossConfig(), "dynamic").to(self.world.device)


def alone_in_the_world() -> None:
    """The environment of one rank that nobody else has to find."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def engines(settings: Settings, rows: Rows) -> None:
    """Steps of a bare loop, DDP, DeepSpeed and our engines in turns; how often a step of ours waits for the device."""
    alone_in_the_world()
    asked = job(settings)
    quads = 1 if settings.tiny else 4
    precision = "bf16" if settings.device == "cuda" else "fp32"
    train = TrainConfig(patch_px=asked.side, quads_per_micro_batch=quads, precision=precision, threads=1)
    world = join_world(train)
    bench = PaperSized("", train, world, [loops.micro_batch(train, 0, world.device)], settings)
    made = {
        "bare loop": loops.bare(bench),
        "torch DDP": loops.plain_ddp(bench),
        "DeepSpeed ZeRO 0": loops.plain_deepspeed(0)(bench),
        "ours on DDP": loops.ours(engine="ddp")(bench),
        "ours on DeepSpeed": loops.ours(engine="deepspeed")(bench),
    }
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for step in made.values():
        step(), step()
    end = time.monotonic() + (0 if settings.tiny else _SECONDS)
    order = list(made)
    while len(seconds[order[-1]]) < _LEAST or time.monotonic() < end:
        for name in order:
            settings.wait()
            begun = time.perf_counter()
            made[name]()
            settings.wait()
            seconds[name].append(time.perf_counter() - begun)
        order.reverse()
    reference = statistics.median(seconds["bare loop"])
    for name, step in made.items():
        middle = statistics.median(seconds[name])
        rows.add(**{"loop": name, "ms a step": 1000 * middle, "over the bare loop": middle / reference,
                    "waits a step": _waits(step, settings)})  # fmt: skip
    torch.distributed.destroy_process_group()


def _waits(step: loops.Step, settings: Settings) -> int | None:
    """How often a step waits for the device, as torch's own check counts; None on a CPU."""
    if settings.device != "cuda":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def copies(settings: Settings, rows: Rows) -> None:
    """A micro-batch's two views to the device, from pageable and from pinned memory."""
    if settings.device != "cuda":
        raise Skipped("there is no device to copy to")
    shape = (2, 16, 512, 512, 3)
    target = torch.empty(shape, dtype=torch.uint8, device="cuda")
    for kind in ("pageable", "pinned"):
        source = torch.zeros(shape, dtype=torch.uint8, pin_memory=kind == "pinned")
        times, returned = [], []
        for _ in range(20):
            torch.cuda.synchronize()
            begun = time.perf_counter()
            target.copy_(source, non_blocking=True)
            returned.append(time.perf_counter() - begun)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
        seconds = statistics.median(times)
        rows.add(**{"memory": kind, "ms": 1000 * seconds, "GB/s": source.numel() / seconds / 1e9,
                    "ms until the call returns": 1000 * statistics.median(returned)})  # fmt: skip


def profiled(settings: Settings, rows: Rows) -> None:
    """Five training steps of the light decoder: where the device's time goes, and how long it stands idle."""
    torch.backends.cudnn.benchmark = True
    asked = job(settings)
    bench = Bench(asked)
    bench.model.train()
    data = bench.batch(asked.batches[len(asked.batches) // 2])
    for _ in range(3):
        bench.train(*data)
    bench.wait()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if settings.device == "cuda" else [])
    with profile(activities=activities) as recorder:
        begun = time.perf_counter()
        for _ in range(_STEPS):
            bench.train(*data)
        bench.wait()
        wall = time.perf_counter() - begun
    kind = "device" if settings.device == "cuda" else "cpu"
    found = recorder.key_averages()
    own = {event.key: getattr(event, f"self_{kind}_time_total") / 1e3 / _STEPS for event in found}
    calls = {event.key: event.count / _STEPS for event in found}
    busy = sum(own.values())
    rows.add(
        **{
            "ms a step": 1000 * wall / _STEPS,
            f"{kind} busy, ms a step": busy,
            "share busy": busy / (1000 * wall / _STEPS),
        }
    )
    for name in sorted(own, key=lambda key: own[key], reverse=True)[:_TOP]:
        rows.add(
            **{"operation": name[:90], "ms a step": own[name], "share": own[name] / busy, "calls a step": calls[name]}
        )
    plain = settings.scratch / "trace.json"
    recorder.export_chrome_trace(str(plain))
    write_atomic(settings.out / "stage-1" / "profile.json.gz", gzip.compress(plain.read_bytes(), 6))
