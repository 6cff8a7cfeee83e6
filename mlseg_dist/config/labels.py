"""How a step's teacher labels the corpus."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mlseg_core.config import StableDump
from mlseg_dist.config.base import CLASSES, VIEWS, Count, Fraction

_FORMS = f"one number, {{{': …, '.join(CLASSES)}: …}}, or {{high: …, low: …}} with one of these for each view"


def _checked(value: Any) -> Any:
    """Return the thresholds as given. Raises ValueError for anything but a number, a number a class, or either of these a view."""
    if isinstance(value, Mapping) and set(value) == set(VIEWS):
        return {view: _checked_view(value[view]) for view in VIEWS}
    return _checked_view(value)


def _checked_view(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _checked_number(value)
    if set(value) != set(CLASSES):
        raise ValueError(f"thresholds of {', '.join(map(str, value)) or 'nothing'}: give {_FORMS}")
    return {name: _checked_number(value[name]) for name in CLASSES}


def _checked_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no threshold: give {_FORMS}")
    number = float(value)
    if not 0 <= number < 1:
        raise ValueError(f"a threshold of {number:g}: it must be at least 0 and less than 1")
    if abs(number * 20 - round(number * 20)) > 1e-9:
        raise ValueError("threshold must be a multiple of 0.05: labels are stored in such steps")
    return number


ByClass = float | dict[str, float]
"""One threshold for all classes, or one for each."""
Thresholds = Annotated[ByClass | dict[str, ByClass], BeforeValidator(_checked)]


class LabelConfig(StableDump):
    """How a step's model labels the corpus as teacher."""

    added_later: ClassVar = (
        "choose",
        "precision",
        "measured_pairs",
        "min_precision",
        "max_share_grown",
        "on_harm",
        "adapt",
        "align",
        "align_strength",
        "draw_rare",
    )

    threshold: Thresholds
    """Least probability of an accepted pixel; a multiple of .05 (Table 8). One number, one for each class
    (`{background: .95, tumour: .9, others: .75}`), or either of these for each view (`{high: …, low: …}`)."""
    stride: Literal[1, 2, 4] = 2
    """Labels are stored at 1/stride of the views' resolution."""
    batch: Count = 16
    """Pairs per forward; batches never span shards."""
    decode_on: Literal["cpu", "gpu"] = "cpu"
    """gpu: NVIDIA DALI decodes the views there. Its JPEG decoder rounds otherwise, so labels differ in some pixels."""
    tta: Literal["none", "flips", "d4"] = "none"
    """Test-time augmentation: the mean answer to both views flipped (4 forwards), or flipped and turned (8)."""
    min_miou: Fraction = 0.0
    """A teacher with less validation mIoU does not label: the campaign stops."""
    min_share_kept: Fraction = 0.1
    """The campaign stops when a class keeps less than so much of its share: labelling/gate.py says of what, against what."""
    sheet: Annotated[int, Field(ge=0)] = 12
    """Pairs on the round's contact sheet."""
    choose: Literal["fixed", "precision"] = "fixed"
    """fixed: one threshold for all classes and views. precision: the least for each class and view, from `threshold` on, at which
    accepted pixels are expected to be right as often as `precision` says (docs/labelling.md)."""
    precision: Fraction = 0.9
    measured_pairs: Annotated[int, Field(ge=0)] = 128
    """Pairs of the validation split, and as many of unannotated tissue, on which the teacher's labels are measured."""
    min_precision: Fraction = 0.0
    """A class that is expected to be right less often, in either view, does harm."""
    max_share_grown: Annotated[float, Field(gt=1)] | None = None
    """A class that makes up so many times the share that it is estimated to have in the tissue does harm; None: not asked."""
    on_harm: Literal["tell", "leave-out", "stop"] = "tell"
    """tell: an event, and a word in the report. leave-out: the class is not accepted in that view. stop: the campaign stops."""

    adapt: Fraction = 0.0
    """How far BatchNorm's statistics are moved from those of training to those of the tissue of each lab and scanner that is
    labelled (labelling/adapting.py); 0: not at all."""
    align: Literal["none", "tissue"] = "none"
    """tissue: probabilities are weighted so that on each lab and scanner classes are no more common than they are estimated to be
    in tissue (docs/labelling.md)."""
    align_strength: Fraction = 1.0
    """Power of those weights: 1 takes the estimated shares at their word, 0 ignores them. Shares are estimated by regions that
    people chose, where a teacher errs more than in plain tissue, so that rare classes are taken to be rarer than they are."""

    draw_rare: Fraction = 0.0
    """A pair that nobody annotated is drawn for tumour or others where so much of its high view is accepted as it (the one with
    more); 0: by its centre alone. A coarse grid on tissue hardly ever centres on a rare class, so that by their centres pairs of
    slides without annotations are drawn for background, and a student learns that on such slides there is nothing else."""

    def threshold_of(self, view: str, name: str) -> float:
        """Return the threshold of a class in a view."""
        found: Any = self.threshold
        for key in (view, name):
            if isinstance(found, dict) and key in found:
                found = found[key]
        return float(found)

    @property
    def adapts(self) -> bool:
        return self.adapt > 0 or self.align != "none"

    def decides(self) -> dict[str, Any]:
        """What the labels' bytes depend on: gates and pictures can be changed without labelling again."""
        gates = {"min_miou", "min_share_kept", "sheet"}
        if self.on_harm != "leave-out":
            gates |= {"min_precision", "max_share_grown", "on_harm"}
        if self.choose == "fixed" and self.on_harm != "leave-out":
            gates |= {"precision"} if self.adapts else {"precision", "measured_pairs"}
        return self.model_dump(mode="json", exclude=gates)

    @model_validator(mode="after")
    def _has_tissue_to_measure(self) -> Self:
        if self.adapts and not self.measured_pairs:
            raise ValueError("adapt and align measure the teacher: measured_pairs must be above 0")
        if self.align == "none" and self.align_strength != 1:
            raise ValueError("align_strength without align: set align to tissue")
        return self
