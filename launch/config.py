"""A campaign: where its slides come from, how they become shards, the steps of Table 8, and the cluster it runs on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from launch.paths import NOT_FINGERPRINTED, PATH_KEYS, base_of, make_absolute
from launch.resources.blocks import ClusterConfig
from launch.resources.earlier_names import translate_cluster, translate_override, without_defaults
from mlseg_core.config import Reading, load_config, read_yaml, unknown_key, validate
from mlseg_core.errors import UserError
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import LearningConfig
from mlseg_dist.sides import check_network, check_side
from shards.config import ShardsConfig
from shards.phantom.config import PhantomConfig
from shards.tiles_config import TilesConfig

_RUNS = Path("runs")


class CampaignConfig(LearningConfig):
    """One campaign file."""

    runs: Path = _RUNS
    """Where run folders lie. This and other relative paths start at the project (launch/paths.py)."""
    phantom: PhantomConfig | None = None
    """Draw synthetic slides."""
    tiles: TilesConfig | None = None
    """Import a folder of tiles and masks."""
    slides: Path | None = None
    """A slide table, for slides that exist."""
    shards: ShardsConfig
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("phantom", "tiles", "slides") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of phantom, tiles, slides says where slides come from, not {given or 'none'}"
            )
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError("the names of steps must be unique")
        missing = sorted(set(self.shards.fine_classes) - set(self.training_classes))
        unknown = sorted(set(self.training_classes) - set(self.shards.fine_classes))
        if missing or unknown:
            raise ValueError(f"training_classes must map each fine class once (missing {missing}, unknown {unknown})")
        if self.train.patch_px > self.shards.store_px:
            raise ValueError("train.patch_px is larger than shards.store_px")
        self._check_networks()
        self._check_style()
        for index, right in enumerate(self.steps):
            before = self.step_before(index)
            left = right if before is None else self.steps[before]
            if right.start == "teacher" and right.model != left.model:
                raise ValueError(f"step {right.name} starts from its teacher {left.name}, but their models differ")
        return self

    def _check_networks(self) -> None:
        """Check every step's network with the views that it trains on and those that it labels. Raises ValueError."""
        ratio = self.shards.ratio
        for number, step in enumerate(self.steps):
            sides = {"train.patch_px": self.train.patch_px}
            if any(self.round_of(i) is not None and self.step_before(i) == number for i in range(len(self.steps))):
                sides["shards.store_px"] = self.shards.store_px
            try:
                check_network(step.model, ratio)
                for name, side in sides.items():
                    check_side(step.model, ratio, side, name)
            except UserError as error:
                raise ValueError(f"step {step.name}: {error}") from None

    def _check_style(self) -> None:
        """Check that the crops of gan_style fit into the stored views and shrink to a whole low view. Raises ValueError."""
        if any(reads_styled(step.augment) for step in self.steps):
            crop, store, ratio = self.style.crop_px, self.shards.store_px, self.shards.ratio
            if crop > store or crop % (2 * ratio):
                raise ValueError(
                    f"style.crop_px is {crop}: at most shards.store_px ({store}), a multiple of {2 * ratio}"
                )

    @classmethod
    def spelled_out(cls, raw: Any, where: Path | str) -> Any:
        raw = super().spelled_out(raw, where)
        return {**raw, "cluster": ClusterConfig.spelled_out(raw["cluster"], where)} if "cluster" in raw else raw

    @property
    def folder(self) -> Path:
        return self.runs / self.name

    def compared(self) -> dict[str, Any]:
        """The config as it is compared with another one: resources as they come out, whichever block sets them."""
        return {**super().compared(), "cluster": self.cluster.settled()}


def load_campaign(
    path: Path | str,
    overrides: list[str] | tuple[str, ...] = (),
    base: Path | None = None,
    site: Path | None = None,
) -> CampaignConfig:
    """A campaign file with absolute paths. Raises UserError.

    base: what relative paths in the file start at, by default base_of (launch/paths.py).
    site: a cluster file, which takes the place of those that the campaign file extends (launch/resources/cluster_files.py).
    """

    def resolve(raw: dict[str, Any]) -> None:
        raw.setdefault("runs", str(_RUNS))
        make_absolute(raw, base_of(Path(path)) if base is None else base)

    return load_config(
        path,
        CampaignConfig,
        _by_new_names(overrides),
        before=resolve,
        after=lambda raw: make_absolute(raw, Path.cwd()),
        reading=Reading(_translate, site, _is_cluster_file),
    )


def load_recorded(
    path: Path, folder: Path, overrides: list[str] | tuple[str, ...] = (), site: Path | None = None
) -> CampaignConfig:
    """A run folder's campaign.yaml, where an earlier version may have recorded relative paths and other names of resources.

    folder: what those paths start at.  site: a cluster file, whose `cluster` section takes the place of the recorded one.
    Raises UserError.
    """
    fingerprinted: dict[str, Any] = {}

    def before(raw: dict[str, Any]) -> None:
        if site is not None:
            raw["cluster"] = _cluster_of(site)
        make_absolute(raw, folder, NOT_FINGERPRINTED)
        fingerprinted.update(raw.get("tiles") or {})

    def after(raw: dict[str, Any]) -> None:
        tiles = raw.get("tiles")
        untouched = isinstance(tiles, dict) and tiles.get("folder") == fingerprinted.get("folder")
        make_absolute(raw, Path.cwd(), NOT_FINGERPRINTED if untouched else PATH_KEYS)

    reading = Reading(_translate_recorded)
    return load_config(path, CampaignConfig, _by_new_names(overrides), before=before, after=after, reading=reading)


def load_cluster(site: Path) -> ClusterConfig:
    """A cluster file by itself. Raises UserError."""
    return validate(_cluster_of(site), ClusterConfig, site)


def _cluster_of(site: Path) -> Any:
    """The section of a cluster file. Raises UserError where it holds anything else, or nothing."""
    raw = read_yaml(site, Reading(_translate))
    for key in raw:
        if key != "cluster":
            raise unknown_key(str(key), str(key), ("cluster",), site)
    if "cluster" not in raw:
        raise UserError("it has no section 'cluster'", site, "See configs/clusters/slurm-gpu.yaml.")
    return raw["cluster"]


def _by_new_names(overrides: Sequence[str]) -> list[str]:
    return [new for override in overrides for new in translate_override(override)]


def _translate(raw: dict[str, Any]) -> None:
    """Translate the earlier names of resources in one file, in place. Raises ValueError."""
    if "cluster" in raw:
        raw["cluster"] = translate_cluster(raw["cluster"])


def _translate_recorded(raw: dict[str, Any]) -> None:
    """Translate a recorded config. Code that knew the earlier names recorded every key, whether it was set or not."""
    is_earlier = isinstance(raw.get("cluster"), dict) and "map" in raw["cluster"]
    _translate(raw)
    if is_earlier:
        without_defaults(raw["cluster"])


def _is_cluster_file(raw: dict[str, Any]) -> bool:
    return set(raw) == {"cluster"}
