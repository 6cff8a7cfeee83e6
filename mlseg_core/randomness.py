"""Random numbers as a pure function of (seed, names): no state is kept, so nothing needs to be saved or restored."""

import hashlib

import numpy as np


def generator(seed: int, *names: object) -> np.random.Generator:
    """A Philox generator keyed by the seed and the names, e.g. generator(7, "augment", "master-1", draw_index)."""
    return np.random.Generator(np.random.Philox(key=_key(seed, names)))


def integer_seed(seed: int, *names: object) -> int:
    """A 63-bit seed for libraries that want one."""
    return _key(seed, names) & (2**63 - 1)


def _key(seed: int, names: tuple[object, ...]) -> int:
    text = "\x1f".join([str(int(seed)), *(str(name) for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
