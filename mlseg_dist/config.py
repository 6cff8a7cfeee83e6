"""What is trained, on what, and how: typed models of a campaign's steps (Table 8) and of what surrounds them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlseg_core.config import Strict

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Range = tuple[float, float]

CLASSES = ("background", "tumour", "others")
"""Training classes 0, 1, 2 (SPEC §1)."""
IGNORED = 255


class EncoderConfig(Strict):
    """An EfficientNet without its classifier."""

    name: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "custom"] = "b4"
    """Published width and depth, or `custom`: those below."""
    width: Positive = 1.0
    """Width coefficient of a custom encoder (B0 = 1)."""
    depth: Positive = 1.0
    """Depth coefficient of a custom encoder (B0 = 1)."""
    drop_connect: Fraction = 0.2


class ModelConfig(Strict):
    """A base U-Net on one view, or the m-UNet on both (SPEC §2)."""

    kind: Literal["unet", "munet"] = "munet"
    view: Literal["high", "low"] = "high"
    """The view that a `unet` sees."""
    encoder: EncoderConfig = EncoderConfig()
    decoder_channels: tuple[Count, ...] = (256, 128, 64, 32, 16)
    """Channels of the decoder stages from stride 16 to stride 1; a high branch that starts at stride 16 skips the first."""
    merge: Literal["compress", "crop", "both"] = "compress"
    merge_channels: Count = 160
    """Channels of what the low branch hands to the high bottleneck."""

    @model_validator(mode="after")
    def _five_stages(self) -> Self:
        if len(self.decoder_channels) != 5:
            raise ValueError("decoder_channels needs five numbers: strides 16, 8, 4, 2, 1")
        return self


class PolicyConfig(Strict):
    """Augmentation of one step. Geometry is physical: one draw for both views and labels; colour: one draw for both views."""

    rotate: bool = True
    """Any angle (the stored margin has the pixels)."""
    flip: bool = True
    rescale: Range = (1.0, 1.0)
    """Zoom factor, drawn log-uniformly."""
    shift_um: Annotated[float, Field(ge=0)] = 0.0
    """Largest shift per axis (XY jitter), µm."""
    brightness: Annotated[float, Field(ge=0)] = 0.0
    contrast: Annotated[float, Field(ge=0)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest hue turn, as a part of the circle."""
    saturation: Annotated[float, Field(ge=0)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Largest standard deviation of Gaussian noise, grey levels of 255."""
    blur_um: Annotated[float, Field(ge=0)] = 0.0
    """Largest sigma of Gaussian blur, µm."""


class LossConfig(Strict):
    """Total = sum over heads of weight x (WCE + WDL) (eq. 7)."""

    heads: dict[Literal["merged", "high", "low"], Annotated[float, Field(ge=0)]] = {
        "merged": 1.0,
        "high": 0.5,
        "low": 0.5,
    }
    """Static weights W^s of the outputs."""
    floor: Fraction = 0.05
    """Least dynamic class weight before normalisation."""
    static_weights: tuple[Positive, Positive, Positive] = (0.8, 1.3, 0.9)
    """Class weights of steps with `weights: static`: tumour-biased; the values are ours."""


class LabelConfig(Strict):
    """How a step's model labels the corpus as teacher."""

    threshold: Annotated[float, Field(ge=0, lt=1)]
    """Least probability of an accepted pixel; a multiple of .05 (Table 8)."""
    stride: Literal[1, 2, 4] = 2
    """Labels are stored at 1/stride of the views' resolution."""
    batch: Count = 16
    """Pairs per forward; batches never span shards."""

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        if abs(self.threshold * 20 - round(self.threshold * 20)) > 1e-9:
            raise ValueError("threshold must be a multiple of 0.05: labels are stored in such steps")
        return self


class StepConfig(Strict):
    """One row of Table 8."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    model: ModelConfig
    augment: PolicyConfig = PolicyConfig()
    epochs: Annotated[float, Field(gt=0)]
    lr: Positive
    """LR0: learning rate that the schedule starts from."""
    weights: Literal["static", "dynamic"]
    start: Literal["fresh", "teacher"] = "fresh"
    """Random weights, or those of the step before."""
    label: LabelConfig
    """How this step's model labels the corpus for the next one; unused by the last step."""


class TrainConfig(Strict):
    """What all steps share."""

    patch_px: Annotated[int, Field(ge=32, multiple_of=32)] = 512
    """Side of the views that the network sees, px; a multiple of 32, the network's coarsest stride."""
    quads_per_micro_batch: Count = 4
    """Samples of a micro-batch / 4: each quad is 2 tumour, 1 normal, 1 others."""
    micro_batches_per_step: Count = 1
    """Micro-batches of an optimizer step, over all ranks; the world size divides it."""
    epoch_draws: Count | None = None
    """Draws in an epoch; default: the number of base pairs of the train split."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16: autocast; parameters and BatchNorm statistics stay fp32."""
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    cycles: Count = 4
    """Cycles of the learning rate; each starts at half the amplitude of the one before."""
    clip_norm: Positive = 1.0
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    checkpoint_every: Count = 500
    """Steps between checkpoints; one more at each validation."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    validations: Count = 5
    """How often the validation split is scored in a step; the best is the teacher."""
    max_validation_samples: Count | None = None
    """Score a fixed, evenly spaced part of the validation split while training; None: all."""
    workers: Annotated[int, Field(ge=0)] = 4
    """Threads a rank reads and augments with."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of torch a rank; 0: torch's own choice."""


class EvaluateConfig(Strict):
    """Final evaluation of every step's teacher."""

    splits: tuple[Literal["val", "test", "dev-unseen", "final-unseen"], ...] = ("val", "test", "dev-unseen")
    """`final-unseen` is to be opened once, at the very end: it is not in the default."""
    batch: Count = 16
    threshold: Fraction = 0.45
    """A pixel takes the strongest class at or above it, else background (SPEC §6)."""
    pictures: Annotated[int, Field(ge=0)] = 12
    """Example pictures a split in the report."""


class CheckConfig(Strict):
    """What the campaign must have learned, or the run ends with status 1. Margins are differences of mIoU."""

    last_over_base: dict[str, float] = {}
    """Split -> least mIoU of the last step minus the base step's."""
    base_over_majority: dict[str, float] = {}
    """Split -> least mIoU of the base step minus that of always answering the majority class."""
    last_over_majority: dict[str, float] = {}


class TrackingConfig(Strict):
    """Weights & Biases; best effort: it never stops training."""

    enabled: bool = True
    project: str = "mlseg"
    mode: Literal["auto", "offline", "online"] = "auto"
    """auto: online where WANDB_API_KEY is set, else offline."""
    media: Annotated[int, Field(ge=0)] = 4
    """Example predictions logged at each validation."""


class LearningConfig(Strict):
    """All that learning needs to know of a campaign; `launch` adds where slides come from and where jobs run."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\x00]+$")]
    """Name of the run folder under `runs`."""
    seed: int = 0
    training_classes: dict[str, Literal[0, 1, 2, 255]]
    """Fine class -> 0 background/normal, 1 tumour, 2 others, 255 ignored."""
    steps: Annotated[tuple[StepConfig, ...], Field(min_length=1)]
    train: TrainConfig = TrainConfig()
    loss: LossConfig = LossConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    checks: CheckConfig = CheckConfig()
    tracking: TrackingConfig = TrackingConfig()
