"""The networks and their loss."""

from typing import Annotated, Literal

from pydantic import Field

from mlseg_core.config import Strict
from mlseg_dist.config.base import Count, Fraction, Positive


class EncoderConfig(Strict):
    """An EfficientNet without its classifier."""

    name: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "custom"] = "b4"
    """Published width and depth, or `custom`: those below."""
    width: Positive = 1.0
    """Width coefficient of a custom encoder (B0 = 1)."""
    depth: Positive = 1.0
    """Depth coefficient of a custom encoder (B0 = 1)."""
    drop_connect: Fraction = 0.2


class DecoderConfig(Strict):
    """From an encoder's deepest map back to the view's grid. The defaults are ours: see docs/network.md."""

    kind: Literal["plain", "separable", "light"] = "light"
    """plain: two 3x3 convolutions a stage (U-Net). separable: depthwise + 1x1 in their place. light: see model/decoder.py."""
    channels: tuple[Count, Count, Count, Count, Count] = (1024, 384, 128, 48, 16)
    """Channels of the stages at strides 16, 8, 4, 2, 1, where they exist. A high branch starts at stride 16 and skips the first."""
    stride: Literal[1, 2, 4] = 4
    """Stride of the last stage; above 1 the logits are upsampled from there."""


class HookNetConfig(Strict):
    """HookNet (van Rijthoven et al. 2021): two U-Nets of plain convolutions, one hook."""

    filters: Count = 64
    """Channels of the first level; doubled at each level."""
    depth: Annotated[int, Field(ge=2, le=5)] = 4
    """Poolings of a branch."""
    padding: Literal["valid", "same"] = "same"
    """valid, as published: logits cover the centre of the views only. same: all of them."""


class ModelConfig(Strict):
    """A network of two views, or of one (docs/network.md)."""

    kind: Literal["unet", "munet", "hooknet", "deeplab"] = "munet"
    view: Literal["high", "low"] = "high"
    """The view that a `unet` or `deeplab` sees."""
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    merge: Literal["compress", "crop", "both"] = "both"
    merge_channels: Count = 256
    """Channels of what the low branch hands over at a hook."""
    hooks: Annotated[tuple[Literal[16, 8, 4], ...], Field(min_length=1)] = (16,)
    """Strides of the high branch at which the low decoder's maps come in; 16 is its bottleneck."""
    hooknet: HookNetConfig = HookNetConfig()


class HeadWeights(Strict):
    """Static weights W^s of the outputs (eq. 7)."""

    answer: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the head that answers: `merged` of an m-UNet, `high` of HookNet, a base's only one."""
    high: Annotated[float, Field(ge=0)] = 0.5
    """Where another head answers."""
    low: Annotated[float, Field(ge=0)] = 0.5
    """Where another head answers."""


LossGroup = Literal["micro-batch", "step"]


class LossConfig(Strict):
    """Total = sum over heads of weight x (WCE + WDL) (eq. 7)."""

    heads: HeadWeights = HeadWeights()
    floor: Fraction = 0.05
    """Least dynamic class weight before normalisation."""
    static_weights: tuple[Positive, Positive, Positive] = (0.8, 1.3, 0.9)
    """Class weights of steps with `weights: static`: tumour-biased; the values are ours."""
    group: LossGroup = "micro-batch"
    """Over which samples class counts (equation 1) and Dice sums run. step: over all samples of a step, on all ranks; each rank
    then has one micro-batch, its share of the step's quads (sharing.py)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread evenly over the classes, in the cross entropy."""
    pixel: Literal["ce", "symmetric", "generalised"] = "ce"
    """ce: eq. 3. symmetric: + reverse cross entropy (Wang 2019). generalised: (1 - p^q) / q (Zhang 2018). For noisy labels."""
    symmetric_weight: Positive = 1.0
    """Weight of the reverse cross entropy."""
    generalised_q: Annotated[float, Field(gt=0, le=1)] = 0.7
