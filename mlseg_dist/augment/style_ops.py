"""GAN style: the images of a sample come from views that a generator made beforehand in another data source's style."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from mlseg_dist.augment.ranges import Fraction, Op


class GanStyleOp(Op):
    """Takes both images from one of the shard's styled sidecars; labels stay. A shard without any keeps its own images."""

    op: Literal["gan_style"]
    p: Fraction = 0.3
    """Probability (the paper's, "StyleGAN Augmentations")."""

    def draw(self, random: np.random.Generator) -> float:
        return float(random.random())


def reads_styled(policy: Iterable[Op]) -> bool:
    """Whether a policy needs styled views beside the corpus."""
    return any(isinstance(op, GanStyleOp) and op.p > 0 for op in policy)


def variant(drawn: float, count: int) -> int:
    """Which of a shard's `count` styled sidecars a draw takes. drawn: in [0, 1)."""
    return min(int(drawn * count), count - 1)
