"""Evaluation, what the campaign must have learned, and tracking."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlseg_core.config import StableDump
from mlseg_dist.config.base import Count, Fraction, Positive


class EvaluateConfig(StableDump):
    """Final evaluation of the steps' teachers: annotated pixels of whole slides, each once."""

    added_later: ClassVar = ("threshold", "steps", "view_px", "overlap", "boundary_um")

    splits: tuple[Literal["val", "test", "dev-unseen", "final-unseen"], ...] = ("val", "test", "dev-unseen")
    """`final-unseen` is to be opened once, at the very end: it is not in the default."""
    batch: Count = 16
    threshold: Fraction | None = None
    """A pixel takes the strongest class at or above it, else background. None: what each teacher chose on the validation
    split; 0.45 for teachers of earlier versions, which chose none."""
    pictures: Annotated[int, Field(ge=0)] = 12
    """Example pictures a split in the report."""
    steps: tuple[str, ...] | None = None
    """Names of the steps to evaluate; None: all."""
    view_px: Count | None = None
    """Side of the views that the network sees, px; None: as large as those that teachers label, if all networks can take them."""
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.25
    """How much neighbouring views overlap, as a share of their side."""
    boundary_um: Positive = 10.0
    """Tolerance of surface Dice, µm."""


class CheckConfig(StableDump):
    """What the campaign must have learned, or the run ends with status 1. Margins are differences of pooled figures."""

    added_later: ClassVar = ("bad_regions_last_over_base", "last_over_control")

    last_over_base: dict[str, float] = {}
    """Split -> least mean IoU of the last step minus the base step's."""
    base_over_majority: dict[str, float] = {}
    """Split -> least mean IoU of the base step minus that of always answering the majority class."""
    last_over_majority: dict[str, float] = {}
    bad_regions_last_over_base: dict[str, float] = {}
    """Split -> least recall of bad regions (fold, bubble, blur, artefact) of the last step minus the base step's."""
    last_over_control: dict[str, float] = {}
    """Split -> least mean IoU of the last step minus that of the control's last step, which learnt from people alone."""


class TrackingConfig(StableDump):
    """Weights & Biases; best effort: it never stops training."""

    added_later: ClassVar = ("images",)

    enabled: bool = True
    project: str = "mlseg"
    mode: Literal["auto", "offline", "online"] = "auto"
    """auto: online where WANDB_API_KEY is set, else offline."""
    media: Annotated[int, Field(ge=0)] = 4
    """Example predictions kept in the phase's folder at each validation."""
    images: bool = False
    """Put these pictures of tissue into W&B's runs, offline ones too, as `wandb sync` sends those later."""
