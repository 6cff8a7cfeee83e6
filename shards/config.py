"""How slides are cut into shards."""

import math
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from mlseg_core.config import StableDump
from shards.audit.config import AuditConfig, TissueConfig

HOLE, IGNORED, EXCLUDED = "hole", "ignored", "excluded"
"""What an annotation name may be mapped to besides a fine class: cut out of what contains it; as if it were not drawn; nothing
that lies there is learnt, scored or labelled by a teacher, whatever else is drawn there."""

Positive = Annotated[float, Field(gt=0)]


class ShardsConfig(StableDump):
    """Views, sampling and classes of a corpus. Lengths in µm, resolutions in µm/px, sizes in px."""

    added_later: ClassVar = ("hash_slides", "slide_hours")

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
    """Annotation name -> fine class, or `excluded`, or `ignored`, or `hole` (where holes are annotations of their own)."""
    mask_classes: dict[str, str] = {}
    """Value in a label mask (as text) -> annotation name; a value that is not listed is an error, 0 is unlabelled unless listed."""
    priority: tuple[str, ...] = ()
    """Fine classes from weak to strong: where annotations overlap the later wins; the others come first, in list order."""

    hash_slides: bool = False
    """Record a sha256 of every byte of each slide that is cut; planning and `shards verify --slides` compare it."""

    slide_hours: Positive = 6.0
    """A slide that takes longer to be cut goes into quarantine. A large one with 20,000 patches takes about ten minutes."""

    tissue: TissueConfig = TissueConfig()
    audit: AuditConfig = AuditConfig()
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.1
    """A campaign goes on without its bad slides while they are at most this share of the table."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ratio = self.low_mpp / self.high_mpp
        if ratio < 2 or abs(ratio - 2 ** round(math.log2(ratio))) > 1e-6:
            raise ValueError(f"low_mpp / high_mpp must be 2, 4, 8, …, not {ratio:g}")
        for name in ("stride_um", "tissue_stride_um"):  # so that seeds lie on whole pixels of both views
            steps = getattr(self, name) / self.low_mpp
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(f"{name} must be a multiple of low_mpp ({self.low_mpp:g})")
        if len(set(self.fine_classes)) != len(self.fine_classes) or len(self.fine_classes) > 254:
            raise ValueError("fine_classes must be unique and at most 254")
        if EXCLUDED in self.fine_classes and EXCLUDED in self.annotation_classes.values():
            raise ValueError(
                f"{EXCLUDED!r} is what annotations may be mapped to besides a fine class: rename the fine class"
            )
        targets = set(self.annotation_classes.values()) - {HOLE, IGNORED, EXCLUDED}
        unknown = sorted({*targets, *self.priority, *self.class_caps} - set(self.fine_classes))
        if unknown:
            raise ValueError(f"not among fine_classes: {', '.join(unknown)}")
        return self

    def decides(self) -> dict[str, Any]:
        """What the shards depend on, as plain JSON values."""
        return self.model_dump(mode="json", exclude={"hash_slides", "slide_hours"})

    @property
    def weak_to_strong(self) -> list[str]:
        """Fine classes in drawing order: where annotations overlap the later one wins."""
        return [*(name for name in self.fine_classes if name not in self.priority), *self.priority]

    @property
    def ratio(self) -> int:
        """low_mpp / high_mpp."""
        return round(self.low_mpp / self.high_mpp)
