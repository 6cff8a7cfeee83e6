"""How slides are cut into shards."""

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from mlseg_core.config import Strict

Positive = Annotated[float, Field(gt=0)]


class ShardsConfig(Strict):
    """Views, sampling and classes of a corpus. Lengths in µm, resolutions in µm/px, sizes in px."""

    high_mpp: Positive = 0.5
    """Resolution of the high view, µm/px."""
    low_mpp: Positive = 2.0
    """Resolution of the low view, µm/px: a power of two times high_mpp."""
    store_px: Annotated[int, Field(ge=32, multiple_of=32)] = 768
    """Stored side of both views, px; larger than the patch so that rotation and jitter have pixels.

    A multiple of 32, the networks' coarsest stride, because teachers label the whole stored field.
    """
    stride_um: Positive = 128.0
    """Grid step of seed points inside annotations, µm."""
    tissue_stride_um: Annotated[float, Field(ge=0)] = 0.0
    """Grid step of unannotated tissue patches of the train split (for pseudo-labels), µm; 0: none."""
    max_per_class: Annotated[int, Field(ge=1)] = 100_000
    """At most so many seeds of one fine class a slide; chosen by `seed`."""
    class_caps: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Fine class -> its own cap instead of max_per_class."""
    max_tissue: Annotated[int, Field(ge=0)] = 100_000
    """At most so many unannotated tissue patches a slide."""
    samples_per_shard: Annotated[int, Field(ge=1)] = 1000
    """A slide's samples are split into tars of at most this many."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    seed: int = 0
    """Decides which patches the caps keep."""
    fine_classes: tuple[str, ...]
    """Names of the fine classes; a class's id in the label images is its place in this list."""
    annotation_classes: dict[str, str]
    """Annotation name -> fine class."""
    priority: tuple[str, ...] = ()
    """Fine classes from weak to strong: where annotations overlap the later wins; the others come first, in list order."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ratio = self.low_mpp / self.high_mpp
        if ratio < 2 or abs(ratio - 2 ** round(math.log2(ratio))) > 1e-6:
            raise ValueError(f"low_mpp / high_mpp must be 2, 4, 8, …, not {ratio:g}")
        if len(set(self.fine_classes)) != len(self.fine_classes) or len(self.fine_classes) > 255:
            raise ValueError("fine_classes must be unique and at most 255")
        unknown = sorted({*self.annotation_classes.values(), *self.priority, *self.class_caps} - set(self.fine_classes))
        if unknown:
            raise ValueError(f"not among fine_classes: {', '.join(unknown)}")
        return self

    @property
    def ratio(self) -> int:
        """low_mpp / high_mpp."""
        return round(self.low_mpp / self.high_mpp)
