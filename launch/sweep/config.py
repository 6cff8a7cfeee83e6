"""The sweep file: what is tried, what is expected of it, and when it stops, written before the first run; and its campaigns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launch.config import CampaignConfig, load_campaign
from mlseg_core.config import Strict, load_config
from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]
Factor = Literal["stain", "scanner", "source"]


class Side(Strict):
    """One side of a comparison."""

    arm: Name
    step: str | None = None
    """Whose teacher is scored; None: the last step of the campaign's own ladder."""


class SlideSet(Strict):
    """Slides that are scored together."""

    split: Literal["val", "test", "dev-unseen", "final-unseen"] = "test"
    only: dict[Factor, tuple[str, ...]] = {}
    """Slides of these stains, scanners or sources; {}: all of the split."""
    mean_over: Factor | None = None
    """The mean of the figures of each stain, scanner or source; None: pixels of all slides pooled."""

    def __str__(self) -> str:
        only = "; ".join(f"{factor} {', '.join(names)}" for factor, names in self.only.items())
        mean = f"mean over {self.mean_over}" if self.mean_over else ""
        return ", ".join(part for part in (self.split, only, mean) if part)


class Comparison(Strict):
    """A difference of mean IoU, and what is expected of it."""

    name: str
    of: Side
    over: Side
    slides: str | SlideSet = SlideSet()
    """These, or the name of one of the sweep's `sets`; default: all of test."""
    at_least: float
    """Least mean difference."""
    low_above: float | None = None
    """What the lower end of the interval has to be above; None: not asked."""
    share_of: str | None = None
    """Name of another comparison (a gap): `at_least` is then the share of its mean difference that has to be reached."""


class SweepConfig(Strict):
    """One sweep file."""

    name: Name
    hypothesis: Annotated[str, Field(min_length=10)]
    """What is expected, in a sentence that the comparisons can refute."""
    budget: Annotated[str, Field(min_length=3)]
    """Core hours that the sweep may take, and how they were estimated."""
    stop: Annotated[str, Field(min_length=3)]
    """When it ends early, or is given up."""
    campaign: Path
    """Campaign file of all arms, relative to this file."""
    overrides: tuple[str, ...] = ()
    """key.path=value for all arms."""
    arms: Annotated[dict[Name, tuple[str, ...]], Field(min_length=1)]
    """Arm -> key.path=value, on top of `overrides`."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    sets: dict[str, SlideSet] = {}
    """Name -> slides; each arm's figures on each of them are shown."""
    compare: tuple[Comparison, ...] = ()

    def slides_of(self, comparison: Comparison) -> SlideSet:
        """Return the slides on which both sides of a comparison are scored."""
        return self.sets[comparison.slides] if isinstance(comparison.slides, str) else comparison.slides

    @model_validator(mode="after")
    def _names_meet(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names one of them twice")
        names = [comparison.name for comparison in self.compare]
        for comparison in self.compare:
            for side in (comparison.of, comparison.over):
                if side.arm not in self.arms:
                    raise ValueError(
                        f"compare {comparison.name!r}: no arm {side.arm!r}; there are {', '.join(self.arms)}"
                    )
            if isinstance(comparison.slides, str) and comparison.slides not in self.sets:
                there = ", ".join(self.sets) or "none"
                raise ValueError(f"compare {comparison.name!r}: no set {comparison.slides!r}; there are: {there}")
            if comparison.share_of is not None and comparison.share_of not in names:
                raise ValueError(f"compare {comparison.name!r}: no comparison {comparison.share_of!r}")
        if len(set(names)) < len(names):
            raise ValueError("two comparisons have one name")
        return self


@dataclass(frozen=True)
class Arm:
    """One campaign of a sweep. overrides: all that make it differ from the campaign file, but the seed."""

    name: str
    seed: int
    overrides: tuple[str, ...]
    config: CampaignConfig

    @property
    def key(self) -> str:
        """Name of its run folder and of its row."""
        return f"{self.name}-{self.seed}"

    @property
    def fingerprint(self) -> str:
        """Changes when anything changes that could change its results. Where it runs, and on what, does not."""
        found = self.config.model_dump(mode="json", exclude={"name", "runs", "cluster", "tracking"})
        return fingerprint(found)


def load_sweep(path: Path) -> SweepConfig:
    """Raises UserError."""
    return load_config(path, SweepConfig)


def arms_of(sweep: SweepConfig, path: Path, folder: Path) -> Iterator[Arm]:
    """Every arm with every seed; seeds first, so that a sweep that is cut short has whole comparisons.

    path: of the sweep file. folder: where the run folders go. Raises UserError.
    """
    campaign = path.parent / sweep.campaign
    if not campaign.is_file():
        raise UserError("no such campaign file", campaign, f"Correct `campaign` in {path}.")
    for seed in sweep.seeds:
        for name, own in sweep.arms.items():
            place = (f"seed={seed}", f"name={name}-{seed}")
            config = load_campaign(campaign, [*sweep.overrides, *own, *place])
            yield Arm(name, seed, (*sweep.overrides, *own), config.model_copy(update={"runs": folder}))


def choose(arms: Sequence[Arm], only: Sequence[str] | None) -> list[Arm]:
    """Return what `only` names, in its order, each once: ARM for all its seeds, or ARM-SEED. None: all. Raises UserError."""
    if only is None:
        return list(arms)
    chosen: dict[str, Arm] = {}
    for name in only:
        named = [arm for arm in arms if name in (arm.name, arm.key)]
        if not named:
            there = ", ".join(dict.fromkeys(arm.name for arm in arms))
            seeds = ", ".join(str(seed) for seed in dict.fromkeys(arm.seed for arm in arms))
            raise UserError(
                f"no arm {name!r}", "--only", f"There are: {there}; with one seed: ARM-SEED, seeds {seeds}."
            )
        chosen |= {arm.key: arm for arm in named}
    return list(chosen.values())
