"""What a set of phantom slides is: how many, how large, how hard. One field, one line."""

from typing import Literal

from pydantic import Field

from mlseg_core.config import Strict

RECIPE = 3
"""Bumped by hand when the same config would give other bytes."""

Split = Literal["train", "val", "test", "dev-unseen", "final-unseen"]


class PhantomConfig(Strict):
    """Synthetic IHC slides with one look-alike pair (Tumor, DCIS) that only context tells apart."""

    seed: int = 7
    """Same seed, same bytes."""
    mpp: float = Field(1.0, ge=0.25, le=4.0)
    """Level 0 in µm/px; each scanner multiplies it by its own factor (.94 to 1.06)."""
    size_um: float = Field(4000.0, ge=2000.0, le=20000.0)
    """Side of the square slide in µm."""
    train: int = Field(12, ge=0)
    """Slides to learn from."""
    val: int = Field(4, ge=0)
    """Slides to choose checkpoints and thresholds on."""
    test: int = Field(4, ge=0)
    """Slides like those of train, for the final figures."""
    dev_unseen: int = Field(2, ge=0)
    """Slides of a stain, scanner and lab outside train, to tune on."""
    final_unseen: int = Field(2, ge=0)
    """Slides of another stain, scanner and lab outside train, to be opened once."""
    second_slide_every: int = Field(3, ge=1)
    """Every n-th patient of a split has two slides."""
    annotated: float = Field(0.5, gt=0.0, le=1.0)
    """Part of the tissue's area that the annotated regions aim at."""
    decoys: float = Field(1.0, ge=0.0, le=2.0)
    """Band material laid as open pieces round a Tumor mass, relative to the closed cuff of a DCIS mass. 0 is easy."""
    cuff_contrast: float = Field(1.0, gt=0.0, le=2.0)
    """Optical density of band material, relative to dense collagen. Lower is harder."""
    artefacts: int = Field(1, ge=0, le=5)
    """Folds, bubbles and blurred areas per slide, of each kind."""
    jpeg_quality: int = Field(90, ge=50, le=100)
    """Of the slide's tiles."""
