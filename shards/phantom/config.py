"""What a set of phantom slides is: how many, how large, how hard. One field, one line."""

from collections.abc import Collection, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from mlseg_core.config import StableDump, Strict
from shards.phantom.appearances import DEV, FINAL
from shards.phantom.catalog import SEEN, SEEN_LABS

RECIPE = 3
"""Bumped by hand when the same config would give other bytes."""

Split = Literal["train", "val", "test", "dev-unseen", "final-unseen"]


class GroupsConfig(Strict):
    """What real groups have: annotations from a few labs and scanners, unannotated slides from all the others."""

    sources: tuple[str, ...] = ("DS1", "DS2")
    """Labs whose slides people annotated: all slides of train and val come from them, and half of test."""
    scanners: tuple[str, ...] = ("Morphle",)
    """Scanners of the annotated slides."""
    unannotated: int = Field(16, ge=0)
    """Further train slides, of the other labs and scanners, that nobody annotated."""

    @model_validator(mode="after")
    def _some_of_each(self) -> Self:
        _check("sources", self.sources, SEEN_LABS)
        _check("scanners", self.scanners, SEEN["scanner"])
        if not set(self.sources) < set(SEEN_LABS) or not set(self.scanners) < set(SEEN["scanner"]):
            raise ValueError("some labs and some scanners must be left that nobody annotated")
        return self


class PhantomConfig(StableDump):
    """Synthetic IHC slides with one look-alike pair (Tumor, DCIS) that only context tells apart."""

    added_later: ClassVar = (
        "groups", "left_out", "regions", "careless_um", "swapped", "train_annotations", "dev_appearances", "final_appearances",
    )  # fmt: skip

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
    """JPEG quality of the slide's tiles."""
    groups: GroupsConfig | None = None
    """None: every lab and scanner has annotated train slides."""
    left_out: tuple[str, ...] = ()
    """Stains and scanners that no slide of train or val has; test keeps them. What is it worth to have seen them?"""
    regions: float = Field(1.0, gt=0.0, le=1.0)
    """Part of the annotated regions of the train slides that is kept; the rest is unannotated tissue."""
    careless_um: float = Field(0.0, ge=0.0, le=40.0)
    """Standard deviation by which the borders of train annotations are off, µm."""
    swapped: int = Field(0, ge=0)
    """Annotated train slides on which Tumor and DCIS are swapped."""
    train_annotations: Literal["people", "whole-truth"] = "people"
    """whole-truth: every µm of every train slide is annotated, without mistakes: the ceiling of experiments. Same slides."""
    dev_appearances: tuple[str, ...] = ()
    """Each layout of dev-unseen is rendered in each of these (shards/phantom/appearances.py); (): as one stain, scanner and lab."""
    final_appearances: tuple[str, ...] = ()
    """The same for final-unseen."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.dev_appearances:
            _check("dev_appearances", self.dev_appearances, DEV)
        if self.final_appearances:
            _check("final_appearances", self.final_appearances, FINAL)
        if self.left_out:
            _check("left_out", self.left_out, [*SEEN["stain"], *SEEN["scanner"]])
            if any(set(names) <= set(self.left_out) for names in self._train_looks()):
                raise ValueError("left_out: no stain or no scanner is left for the slides of train and val")
        if self.swapped > self.train:
            raise ValueError(f"swapped: {self.swapped} of {self.train} annotated train slides")
        if self.train_annotations == "whole-truth" and not self.has_truth:
            raise ValueError("train_annotations: whole-truth needs groups, regions, careless_um or swapped")
        return self

    def _train_looks(self) -> list[list[str]]:
        """What slides of train are stained with and scanned on, were none left out: every list has to keep a name."""
        if self.groups is None:
            return [SEEN["stain"], SEEN["scanner"]]
        others = [name for name in SEEN["scanner"] if name not in self.groups.scanners]
        return [SEEN["stain"], list(self.groups.scanners), others]

    @property
    def has_truth(self) -> bool:
        """Where people annotate less than they could, or wrongly, the whole truth is written beside each train slide."""
        return self.groups is not None or self.regions < 1 or self.careless_um > 0 or self.swapped > 0


def _check(key: str, names: Sequence[str], known: Collection[str]) -> None:
    """Raises ValueError."""
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        what = f"unknown: {', '.join(unknown)}" if unknown else "none, or one of them twice"
        raise ValueError(f"{key}: {what}. There are {', '.join(known)}")
