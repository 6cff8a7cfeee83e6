"""Settings of the generators and of the styled shards."""

from typing import Annotated, Any, Literal

from pydantic import Field

from mlseg_core.config import Strict

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class StyleConfig(Strict):
    """The paper's choices: a generator for each pair, from scratch, mapping network, noise in each layer, SSIM loss.
    Numbers are ours.
    """

    by: Literal["scanner", "source"] = "scanner"
    """Column of the slide table whose values are the styles."""
    pairs: tuple[tuple[str, str], ...] | None = None
    """[source, target], ...; None: every value to every other, in the train split."""
    steps: Count = 20000
    batch: Count = 8
    """Source pairs, and as many target pairs, of a step."""
    crop_px: Annotated[int, Field(ge=32, multiple_of=16)] = 256
    """Side of the crops that are trained on, px."""
    channels: tuple[Count, Count, Count] = (16, 48, 96)
    """Channels of the generator's maps at strides 1, 2, 4."""
    blocks: Count = 4
    """Residual blocks at stride 4."""
    latent: Count = 128
    critic_channels: tuple[Count, ...] = (32, 64, 128, 192)
    """Channels of the discriminator's stages; each but the first halves the grid."""
    lr: Positive = 0.001
    critic_lr: Positive = 0.001
    ssim: Weight = 1.0
    """Weight of 1 - SSIM of luminance before and after (eq. 2)."""
    agreement: Weight = 5.0
    """Weight of the difference between the changes of colour in the high view and in the centre of the low one."""
    identity: Weight = 0.0
    """Weight of what the generator changes in the target's own patches."""
    diversity: Weight = 0.0
    """Weight of how far two latents' mean colours of a patch are short of 10 grey levels; against generators that ignore them."""
    r1: Weight = 1.0
    """Weight of the R1 penalty (Mescheder 2018)."""
    r1_every: Count = 8
    """Steps between penalties, each so many times as heavy."""
    average: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Decay of the average of the generator's weights: the average is what styles."""
    checkpoint_every: Count = 1000
    log_every: Count = 50
    targets_per_shard: Count | None = 1
    """Most targets that a shard is styled as, chosen by its name; None: all of its pairs. Each takes as much room as the corpus."""
    apply_batch: Count = 8
    """Pairs per forward when shards are styled; batches never span shards."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    min_ssim: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Least SSIM of luminance before and after, mean over all that a pair styled; shards of a pair below it are left out."""

    def decides(self) -> dict[str, Any]:
        """What a generator's weights depend on, but for the number of steps."""
        return self.model_dump(mode="json", exclude={*_WHICH, *_APPLIED, "steps", "checkpoint_every", "log_every"})

    def chooses(self) -> dict[str, Any]:
        """Which generators there are, and how long they are trained."""
        return self.model_dump(mode="json", include={*_WHICH, "steps"})

    def applies(self) -> dict[str, Any]:
        """What styled shards depend on besides their generators."""
        return self.model_dump(mode="json", include={*_WHICH, *_APPLIED})


_WHICH = {"by", "pairs"}
_APPLIED = {"targets_per_shard", "apply_batch", "jpeg_quality", "min_ssim"}
