"""Augmentation: parameters are drawn once per draw by a counter-based generator, then applied by an executor (CPU here)."""

from mlseg_dist.augment.apply import augment
from mlseg_dist.augment.draw import Parameters, draw_parameters

__all__ = ["Parameters", "augment", "draw_parameters"]
