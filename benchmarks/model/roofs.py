"""The device's roofs, measured: the fastest dense product or convolution, and the bandwidth of a copy.

    python -m benchmarks.model.roofs DEVICE [THREADS]

Says one line of JSON: multiply-adds a second of square matrix products (matmul_s) and of dense 3x3 convolutions (conv_s),
the fastest of each, float32 on a CPU, bf16 on a GPU; bytes_s, read + written. Products alone are no roof: on a CPU they run
in another library than convolutions, and were measured to be slower.
"""

import json
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

MATRICES = {"cpu": (512, 1024, 2048, 3072), "cuda": (2048, 4096, 8192, 16384)}
CONVOLUTIONS = {
    "cpu": ((2, 64, 256), (2, 128, 128), (4, 256, 64), (4, 512, 32)),
    "cuda": ((16, 128, 256), (16, 256, 128), (32, 512, 64)),
}
"""(batch, channels, side)."""
COPY_MIB = {"cpu": 512, "cuda": 4096}
_REPEATS = 7


def matmul_macs_s(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Multiply-adds a second of a square product; the fastest of some."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return side**3 / _fastest(lambda: torch.mm(a, b, out=out), device)


def conv_macs_s(device: torch.device, dtype: torch.dtype, batch: int, channels: int, side: int) -> float:
    """Multiply-adds a second of a dense 3x3 convolution, channels last; the fastest of some."""
    x = torch.randn(batch, channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    macs = batch * side**2 * channels**2 * 9
    return macs / _fastest(lambda: F.conv2d(x, weight, padding=1), device)


def copy_bytes_s(device: torch.device, mib: int) -> float:
    """Bytes a second, read + written, of a copy that no cache holds; the fastest of some."""
    source = torch.ones(mib * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * mib * 2**20 / _fastest(lambda: target.copy_(source), device)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work()
    times = []
    for _ in range(_REPEATS):
        wait()
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(device: torch.device) -> dict[str, float]:
    """All roofs of the device."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.inference_mode():
        return {
            "matmul_s": max(matmul_macs_s(device, dtype, side) for side in MATRICES[device.type]),
            "conv_s": max(conv_macs_s(device, dtype, *shape) for shape in CONVOLUTIONS[device.type]),
            "bytes_s": copy_bytes_s(device, COPY_MIB[device.type]),
        }


if __name__ == "__main__":
    if len(sys.argv) > 2 and int(sys.argv[2]):
        torch.set_num_threads(int(sys.argv[2]))
    print(json.dumps(measure(torch.device(sys.argv[1]))))
