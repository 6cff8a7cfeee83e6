"""A campaign: where its slides come from, how they become shards, the steps of Table 8, and the cluster it runs on."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from launch.paths import NOT_FINGERPRINTED, PATH_KEYS, base_of, make_absolute
from mlseg_core.config import Strict, load_config
from mlseg_core.errors import UserError
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import LearningConfig
from mlseg_dist.sides import check_network, check_side
from shards.config import ShardsConfig
from shards.phantom.config import PhantomConfig
from shards.tiles_config import TilesConfig

Count = Annotated[int, Field(ge=1)]
_RUNS = Path("runs")


class JobConfig(Strict):
    """Resources of one kind of job."""

    workers: Count = 1
    """Elements of a map's array; each has nodes * tasks_per_node processes, and every process is a worker of the map."""
    nodes: Count = 1
    tasks_per_node: Count = 1
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    cpus_per_task: Count = 1
    mem_gb: Annotated[int, Field(ge=0)] = 0
    """Memory per node, GB; 0: the partition's default."""
    timeout_min: Annotated[int, Field(ge=30)] = 60
    """Time limit, minutes; at least 30, because submitit counts a preemption of a shorter job as a time-out."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()
    """Shell lines before the job, for example `module load cuda`."""
    container: tuple[str, ...] = ()
    """Words before the job's Python: apptainer, exec, --nv, image.sif."""
    extra: dict[str, str] = {}
    """Further sbatch parameters, name -> value."""

    @property
    def tasks(self) -> int:
        """Processes of one job (of one element of a map's array)."""
        return self.nodes * self.tasks_per_node

    @property
    def map_workers(self) -> int:
        """Workers of a map: each process of each element of the array is one."""
        return self.workers * self.tasks


class ClusterConfig(Strict):
    """Where jobs run. auto: SLURM where `sbatch` is on the PATH, else this machine."""

    executor: Literal["auto", "slurm", "local"] = "auto"
    map: JobConfig = JobConfig()
    """Workers that draw slides, cut shards, label them and evaluate slides."""
    train: JobConfig = JobConfig()
    single: JobConfig = JobConfig()
    """Merging, the report, planning again."""
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    """How often a failed phase is planned again before a person is asked."""
    replan: Literal["job", "login"] = "job"
    """Who plans again: a job that waits for a failure, or, where jobs may not submit jobs, `mlseg run`, which then stays."""


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
        """Every step's network at the views that it trains on, and at those that it labels. Raises ValueError."""
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
        """Where gan_style is used: crops that lie in the stored views and shrink to a whole low view. Raises ValueError."""
        if any(reads_styled(step.augment) for step in self.steps):
            crop, store, ratio = self.style.crop_px, self.shards.store_px, self.shards.ratio
            if crop > store or crop % (2 * ratio):
                raise ValueError(
                    f"style.crop_px is {crop}: at most shards.store_px ({store}), a multiple of {2 * ratio}"
                )

    @property
    def folder(self) -> Path:
        return self.runs / self.name


def load_campaign(
    path: Path | str, overrides: list[str] | tuple[str, ...] = (), base: Path | None = None
) -> CampaignConfig:
    """A campaign file with absolute paths. Raises UserError.

    base: what relative paths in the file start at, by default base_of (launch/paths.py).
    """

    def resolve(raw: dict[str, Any]) -> None:
        raw.setdefault("runs", str(_RUNS))
        make_absolute(raw, base_of(Path(path)) if base is None else base)

    return load_config(
        path, CampaignConfig, overrides, before=resolve, after=lambda raw: make_absolute(raw, Path.cwd())
    )


def load_recorded(path: Path, folder: Path, overrides: list[str] | tuple[str, ...] = ()) -> CampaignConfig:
    """A run folder's campaign.yaml, where an earlier version may have recorded relative paths.

    folder: what those start at.  Raises UserError.
    """
    fingerprinted: dict[str, Any] = {}

    def before(raw: dict[str, Any]) -> None:
        make_absolute(raw, folder, NOT_FINGERPRINTED)
        fingerprinted.update(raw.get("tiles") or {})

    def after(raw: dict[str, Any]) -> None:
        tiles = raw.get("tiles")
        untouched = isinstance(tiles, dict) and tiles.get("folder") == fingerprinted.get("folder")
        make_absolute(raw, Path.cwd(), NOT_FINGERPRINTED if untouched else PATH_KEYS)

    return load_config(path, CampaignConfig, overrides, before=before, after=after)
