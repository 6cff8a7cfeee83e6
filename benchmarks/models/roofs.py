"""The device's roofs, measured: the fastest square matrix product, and the bandwidth of a copy.

    python -m benchmarks.models.roofs DEVICE [THREADS]

Says one line of JSON: macs_s (multiply-adds a second, float32 on a CPU, bf16 on a GPU), bytes_s (read + written), and at
which size the product was fastest. The larger the machine, the larger its sizes.
"""

import json
import sys
import time
from collections.abc import Callable

import torch

MATRICES = {"cpu": (512, 1024, 2048, 3072), "cuda": (2048, 4096, 8192, 16384)}
COPY_MIB = {"cpu": 512, "cuda": 4096}
_REPEATS = 7


def matmul_macs_s(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Multiply-adds a second of a square product; the fastest of some."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return side**3 / _fastest(lambda: torch.mm(a, b, out=out), device)


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
    rates = {side: matmul_macs_s(device, dtype, side) for side in MATRICES[device.type]}
    best = max(rates, key=lambda side: rates[side])
    return {"macs_s": rates[best], "bytes_s": copy_bytes_s(device, COPY_MIB[device.type]), "side": best}


if __name__ == "__main__":
    if len(sys.argv) > 2 and int(sys.argv[2]):
        torch.set_num_threads(int(sys.argv[2]))
    print(json.dumps(measure(torch.device(sys.argv[1]))))
