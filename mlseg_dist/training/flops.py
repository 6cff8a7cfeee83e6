"""Floating-point operations of a training step, and how many a device could do at most: what MFU is the quotient of."""

import torch

from mlseg_dist.config import ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.summary import summarise

# Name as the driver gives it, more special before less: 10^12 FLOP/s of tensor cores without sparsity, bf16 and TF32.
_TENSOR_CORES: tuple[tuple[str, float | None, float], ...] = (
    ("B200", 2250.0, 1125.0),
    ("GH200", 989.4, 494.7),
    ("H200 NVL", 835.5, 417.5),
    ("H200", 989.4, 494.7),
    ("H800 PCIe", 756.0, 378.0),
    ("H800", 989.4, 494.7),
    ("H100 NVL", 835.5, 417.5),
    ("H100 PCIe", 756.0, 378.0),
    ("H100", 989.4, 494.7),
    ("A100", 312.0, 156.0),
    ("A800", 312.0, 156.0),
    ("A40", 149.7, 74.8),
    ("A30", 165.0, 82.0),
    ("A10G", 70.0, 35.0),
    ("A10", 125.0, 62.5),
    ("L40S", 362.05, 183.0),
    ("L40", 181.05, 90.5),
    ("L4", 121.0, 60.0),
    ("RTX 6000 Ada", 364.2, 182.1),
    ("RTX A6000", 154.8, 77.4),
    ("RTX 3090", 71.0, 35.6),
    ("RTX 4090", 165.2, 82.6),
    ("V100-PCIE", None, 14.0),
    ("V100", None, 15.7),
)


def peak_flops(device: torch.device, precision: str, override_tflops: float | None = None) -> float | None:
    """FLOP/s that the device could do at most at `precision` (`bf16`, `fp32`); None: not known, as for a CPU.

    Published dense figures (no sparsity): NVIDIA's datasheets of the cards, and the appendices of its GA102 and Ada whitepapers for
    GeForce. fp32 counts as TF32, in which torch lets cuDNN convolve unless told otherwise; V100 has neither TF32 nor bf16.
    override_tflops: 10^12 FLOP/s, `train.peak_tflops`.
    """
    if override_tflops is not None:
        return override_tflops * 1e12
    return known_peak(torch.cuda.get_device_name(device), precision) if device.type == "cuda" else None


def known_peak(name: str, precision: str) -> float | None:
    """As peak_flops, of a GPU by the name that its driver gives it."""
    words = name.replace("-", " ").split()
    if "MIG" in words or "Laptop" in words:  # a part of the card, a slower one of the same name
        return None
    for card, bf16, tf32 in _TENSOR_CORES:
        wanted = card.replace("-", " ").split()
        # Whole words: A10 is not A100, L4 is not L40.
        if all(word in words for word in wanted):
            figure = bf16 if precision == "bf16" else tf32
            return figure * 1e12 if figure is not None else None
    return None


def training_flops(config: ModelConfig, ratio: int, side: int) -> float:
    """Of one pair of views, side x side px: two per multiply-add of a convolution, forward, and twice as much backward."""
    summary = summarise(lambda: build_model(config, ratio), side, bf16=False, device=None)
    return 3 * 2e9 * float(summary.total("gmac"))
