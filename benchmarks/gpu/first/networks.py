"""The device's roofs, and our networks under them: eager, with cudnn.benchmark, compiled; plain and light decoder."""

import statistics
import time
from dataclasses import replace

import torch

from benchmarks.gpu.first.parts import Rows, Settings
from benchmarks.model import roofs
from benchmarks.model.counting import Roofs
from benchmarks.model.networks import Scale
from benchmarks.model.row import Bench, Job

_DECODERS = {"light": "ours", "plain": "ours-plain"}
_SECONDS = 1.5
_LEAST = 3


def job(settings: Settings, decoder: str = "light", compiled: bool = False) -> Job:
    """The m-UNet B4 at 512 px, or something small. decoder: `light` or `plain`."""
    row = _DECODERS[decoder]
    if settings.tiny:
        return Job(row, 64, (2,), settings.device, compiled, "aot_eager", scale=Scale("custom", custom=0.25))
    return Job(row, 512, (4, 16, 32), settings.device, compiled)


def measure_roofs(settings: Settings, rows: Rows) -> None:
    """Multiply-adds a second of products and dense convolutions, bytes a second of a copy."""
    if settings.tiny:
        device, dtype = torch.device(settings.device), torch.float32
        found = {
            "matmul_s": roofs.matmul_macs_s(device, dtype, 256),
            "conv_s": roofs.conv_macs_s(device, dtype, 1, 16, 32),
            "bytes_s": roofs.copy_bytes_s(device, 8),
        }
    else:
        found = roofs.measure(torch.device(settings.device))
    rows.add(**{"matmul, 10^12 MAC/s": found["matmul_s"] / 1e12, "convolution, 10^12 MAC/s": found["conv_s"] / 1e12,
                "copy, GB/s": found["bytes_s"] / 1e9})  # fmt: skip
    (settings.scratch / "roofs.txt").write_text(f"{max(found['matmul_s'], found['conv_s'])} {found['bytes_s']}")


def known_roofs(settings: Settings) -> Roofs | None:
    """What measure_roofs found; None when it did not get so far."""
    path = settings.scratch / "roofs.txt"
    return Roofs(*map(float, path.read_text().split())) if path.exists() else None


def eager(settings: Settings, rows: Rows) -> None:
    """Training steps of both decoders at all batch sizes, without and with cudnn.benchmark; labelling at the middle size."""
    for decoder in _DECODERS:
        bench = Bench(job(settings, decoder))
        for benchmark in (False, True):
            torch.backends.cudnn.benchmark = benchmark
            for batch in bench.job.batches:
                rows.add(
                    **_figures(
                        bench, settings, "train", batch, decoder, f"cudnn.benchmark {'on' if benchmark else 'off'}"
                    )
                )
        middle = bench.job.batches[len(bench.job.batches) // 2]
        rows.add(**_figures(bench, settings, "label", middle, decoder, "cudnn.benchmark on"))


def compiled(settings: Settings, rows: Rows) -> None:
    """The middle batch size under torch.compile, and how long compiling takes."""
    torch.backends.cudnn.benchmark = True
    for decoder in _DECODERS:
        bench = Bench(job(settings, decoder, compiled=True))
        middle = bench.job.batches[len(bench.job.batches) // 2]
        rows.add(**_figures(bench, settings, "train", middle, decoder, "compiled"))


def _figures(bench: Bench, settings: Settings, work: str, batch: int, decoder: str, how: str) -> dict[str, object]:
    """Milliseconds of a batch, pairs/s, peak memory, share of the roofline; first_s: the first pass, with tuning or compiling."""
    bench.model.train(work == "train")
    data = bench.batch(batch)
    step = bench.train if work == "train" else bench.label
    begun = time.perf_counter()
    step(*data)
    bench.wait()
    first = time.perf_counter() - begun
    step(*data)
    bench.wait()
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < _LEAST or (not settings.tiny and time.perf_counter() - begun < _SECONDS):
        before = time.perf_counter()
        step(*data)
        bench.wait()
        times.append(time.perf_counter() - before)
    seconds = statistics.median(times)
    peak = torch.cuda.max_memory_allocated() / 2**30 if bench.device.type == "cuda" else None
    roofs_known, share = known_roofs(settings), None
    if roofs_known:
        bench = bench if not bench.job.compile else Bench(replace(bench.job, compile=False))
        share = roofs_known.floors(bench.count(work, data[0]))["roofline"] / seconds
    return {"decoder": decoder, "work": work, "batch": batch, "how": how, "ms": 1000 * seconds, "pairs/s": batch / seconds,
            "share of the roofline": share, "peak GiB": peak, "first s": first}  # fmt: skip
