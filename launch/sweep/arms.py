"""A sweep file -> the campaigns that it asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.config import CampaignConfig, load_campaign
from launch.sweep.config import SweepConfig
from mlseg_core.config import load_config
from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint


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
