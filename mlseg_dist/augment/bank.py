"""Noise without drawing it pixel by pixel: windows into constant banks, the same for every executor.

A seed chooses where a window begins. Windows of different draws overlap, each shifted against the other by chance.
"""

from functools import cache

import numpy as np

NORMAL_STEP = 32
"""A normal of the bank is (value − 128) / NORMAL_STEP; cut at ±4."""
_SIZE = 1 << 22


@cache
def normals() -> np.ndarray:
    """uint8 (2²²,): standard normals as 128 + NORMAL_STEP x z."""
    random = np.random.Generator(np.random.Philox(key=1))
    return np.clip(np.rint(128 + NORMAL_STEP * random.standard_normal(_SIZE, np.float32)), 0, 255).astype(np.uint8)


@cache
def uniforms() -> np.ndarray:
    """float32 (2²²,): uniform from −1 to 1."""
    return np.random.Generator(np.random.Philox(key=2)).uniform(-1, 1, _SIZE).astype(np.float32)


def long_enough(bank: np.ndarray, count: int) -> np.ndarray:
    """The bank, repeated where a window of `count` values would not fit into it."""
    return bank if count <= len(bank) else np.resize(bank, 2 * count)


def begin(count: int, seed: int, view: str) -> int:
    """Where a window of `count` values begins in long_enough(bank, count); high and low have pieces of their own."""
    length = _SIZE if count <= _SIZE else 2 * count
    return (seed * 2 + (view == "low")) * 0x9E3779B97F4A7C15 % 2**64 % (length - count + 1)


def window(bank: np.ndarray, shape: tuple[int, ...], seed: int, view: str) -> np.ndarray:
    """A read-only piece of the bank."""
    count = int(np.prod(shape))
    first = begin(count, seed, view)
    return long_enough(bank, count)[first : first + count].reshape(shape)
