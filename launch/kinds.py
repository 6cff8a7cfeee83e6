"""The registry of phase kinds: what each depends on, what it publishes and which functions do its work.

A kind imports its functions only when its job runs, so that planning and the slides and shards jobs never load torch.
Raise a kind's `recipe_version` by hand when its results change for the same inputs.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn, Protocol

from launch.config import CampaignConfig
from launch.graph import KindName, Phase
from launch.resources import Block, ClusterConfig, JobConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Describe, Unit, Work, merge
from mlseg_core.files import sha256_file
from mlseg_dist.run_folder import counts_folder, generators_folder, labels_folder, shards_folder, styled_folder


class Control(Protocol):
    """What a phase's work asks of the process that it runs in."""

    def __call__(self) -> bool:
        """True once the work has to stop at its next safe point."""
        ...

    def give_up(self, why: str) -> NoReturn:
        """End this process at once, from any thread: a rank stands still and nothing will come of waiting."""
        ...


class Kind(ABC):
    """block: of the cluster's resources.  on_gpu: its work runs on the GPUs that the job asks for, not on the CPU beside them.

    recipe_version: part of every fingerprint. earlier_recipes: versions whose results stay valid where a run has them; new ones are
    made under recipe_version, or by the run's frozen code under the one that it knows.
    """

    block: ClassVar[Block]
    on_gpu: ClassVar[bool] = False
    recipe_version: ClassVar[int] = 1
    earlier_recipes: ClassVar[tuple[int, ...]] = ()

    @abstractmethod
    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        """The part of the config that decides the phase's results, as plain JSON values."""

    @abstractmethod
    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        """The file that the phase publishes last; its hash stands for all outputs."""

    def outputs(self, run: RunFolder, phase: Phase) -> tuple[Path, ...]:
        """What is set aside, beside the phase's own folder, when the phase is no longer valid."""
        return ()

    def block_in(self, cluster: ClusterConfig) -> Block:
        """The block of resources that its jobs get there."""
        return self.block


@dataclass(frozen=True)
class Mapping:
    """A map over units: its work, and what turns the finished units into the published manifest.

    publish: proves that all is done first; raises map.Incomplete.  unit, piece: what progress counts.
    goes_on: units that failed do not fail the phase; publish decides.
    prepare: what all units need of a worker's process, before it takes the first: what fails here fails no unit.
    """

    units: Sequence[Unit]
    work: Work
    describe: Describe | None
    publish: Callable[[], Any]
    unit: str
    piece: str = "pieces"
    goes_on: bool = False
    prepare: Callable[[], None] = lambda: None


class MapKind(Kind):
    """Many units, any number of workers, then one merge, which gets the resources of `small`."""

    @abstractmethod
    def folder(self, run: RunFolder, phase: Phase) -> Path:
        """Where the units' outputs go."""

    @abstractmethod
    def mapping(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> Mapping:
        """The work to do. Raises UserError."""

    def outputs(self, run: RunFolder, phase: Phase) -> tuple[Path, ...]:
        return (self.folder(run, phase),)


class WholeKind(Kind):
    """One job that does the phase from start to end, on every rank."""

    @abstractmethod
    def work(self, config: CampaignConfig, run: RunFolder, phase: Phase, control: Control) -> None:
        """Do it, or continue it. Raises Interrupted at a safe point once control() is true, UserError."""


class Slides(MapKind):
    """Phantom slides drawn, or slides made of imported tiles and masks; with their table."""

    block: ClassVar[Block] = "cut"

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        source = config.phantom or config.tiles
        assert source is not None
        return [type(source).__name__, source.model_dump(mode="json")]

    def folder(self, run: RunFolder, phase: Phase) -> Path:
        return run.data / "slides"

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return self.folder(run, phase) / "slides.csv"

    def mapping(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> Mapping:
        maker, settings = slide_maker(config)
        folder, todo = self.folder(run, phase), maker.units(settings)

        def publish() -> None:
            merge(todo, folder)
            maker.write_table(settings, folder)

        return Mapping(todo, maker.draw, None, publish, "slides")


def slide_maker(config: CampaignConfig) -> tuple[ModuleType, Any]:
    """The module that makes the slides (units, draw, write_table), and its settings."""
    if config.phantom is not None:
        from shards import phantom

        return phantom, config.phantom
    from shards import tiles

    return tiles, config.tiles


def slide_table(config: CampaignConfig, run: RunFolder) -> Path:
    """The slide table that the campaign starts from."""
    return config.slides if config.slides is not None else run.data / "slides" / "slides.csv"


class Shards(MapKind):
    """Slides cut into tars of samples; the phase is done when training can begin with them."""

    block: ClassVar[Block] = "cut"

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        return [config.shards.decides(), _file_hash(config.slides)]

    def folder(self, run: RunFolder, phase: Phase) -> Path:
        return shards_folder(run.path)

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return self.folder(run, phase) / "manifest.json"

    def mapping(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> Mapping:
        from shards import cutting

        table, folder = slide_table(config, run), self.folder(run, phase)
        plan = cutting.plan_cut(config.shards, table, folder)

        def publish() -> None:
            from launch.classes import check_corpus

            corpus = cutting.write_manifest(config.shards, table, plan.units, folder, plan.known)
            for warning in check_corpus(config, corpus, self.manifest(run, phase)):
                run.events(phase).log("few-labels", warning, "warning")

        return Mapping(
            plan.units,
            cutting.cut,
            cutting.describe,
            publish,
            "slides",
            "pairs",
            goes_on=True,
        )


class Generators(WholeKind):
    """A generator of each pair of styles, for gan_style; the ranks share them out."""

    block: ClassVar[Block] = "style"
    on_gpu: ClassVar[bool] = True

    def block_in(self, cluster: ClusterConfig) -> Block:
        return cluster.generators

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        style = {**config.style.decides(), **config.style.chooses()}
        return {**style, "seed": config.seed, "precision": config.train.precision}

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return generators_folder(run.path) / "generators.json"

    def outputs(self, run: RunFolder, phase: Phase) -> tuple[Path, ...]:
        return (generators_folder(run.path),)

    def work(self, config: CampaignConfig, run: RunFolder, phase: Phase, control: Control) -> None:
        from mlseg_dist.style.generators import list_generators, train_generators
        from mlseg_dist.style.pairs import wanted
        from shards.manifest import read_manifest

        rank = os.environ["RANK"]
        shards, tally = shards_folder(run.path), run.phase(phase) / "progress" / f"{rank}.json"
        pairs = wanted(config.style, read_manifest(shards / "manifest.json"))
        train_generators(config, shards, run.data, pairs, control, tally)
        if rank == "0":
            list_generators(config, shards, run.data, pairs, control)


class Style(MapKind):
    """The train split in the styles of other scanners, one sidecar shard for each (shard, target)."""

    block: ClassVar[Block] = "style"
    on_gpu: ClassVar[bool] = True

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        return {**config.style.applies(), "seed": config.seed, "precision": config.train.precision}

    def folder(self, run: RunFolder, phase: Phase) -> Path:
        return styled_folder(run.path)

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return self.folder(run, phase) / "manifest.json"

    def mapping(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> Mapping:
        from mlseg_dist.style import publish, work

        folder = self.folder(run, phase)
        todo = work.units_of(config, shards_folder(run.path), run.data)
        log_event = run.events(phase).log
        return Mapping(
            todo, work.style, work.describe, lambda: publish.write_styled(todo, folder, log_event), "shards", "pairs"
        )


class Label(MapKind):
    """The teacher labels the train split, one sidecar shard per shard."""

    block: ClassVar[Block] = "label"
    on_gpu: ClassVar[bool] = True
    recipe_version: ClassVar[int] = 2

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        label = config.steps[phase.step - 1].label.decides()
        return {"label": label, "classes": config.training_classes, "precision": config.train.precision}

    def folder(self, run: RunFolder, phase: Phase) -> Path:
        return labels_folder(run.path, phase.step)

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return self.folder(run, phase) / "manifest.json"

    def mapping(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> Mapping:
        from mlseg_dist import labelling

        folder = self.folder(run, phase)
        return Mapping(
            labelling.units(config, phase.step - 1, run.path),
            labelling.label,
            labelling.describe,
            lambda: labelling.write_round(config, phase.step - 1, run.path, folder),
            "shards",
            "pairs",
            prepare=lambda: labelling.prepare(config, phase.step - 1, run.path),
        )


_SAME_RESULTS = {
    "workers",
    "threads",
    "keep_checkpoints",
    "keep_every",
    "checkpoint_every",
    "log_every",
    "profile",
    "health",
    "peak_tflops",
    "fit_micro_batch",
    "deterministic",
    "max_skipped",
    "max_rollbacks",
    "engine",
    "zero",
    "compile",
    "cache_dir",
    "cache_gb",
    "bad_samples",
    "max_excluded",
}
"""Keys of TrainConfig that change the speed or the disk space, not what is learnt."""


class Train(WholeKind):
    """One row of Table 8; its teacher is what later phases read."""

    block: ClassVar[Block] = "train"
    on_gpu: ClassVar[bool] = True
    recipe_version: ClassVar[int] = 6
    earlier_recipes: ClassVar[tuple[int, ...]] = (5,)

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        return {
            **config.model_dump(mode="json", include={"seed", "training_classes", "loss"}),
            "train": config.train.model_dump(mode="json", exclude=_SAME_RESULTS),
            "step": config.steps[phase.step].model_dump(mode="json", exclude={"label"}),
        }

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return run.phase(phase) / "teacher.json"

    def work(self, config: CampaignConfig, run: RunFolder, phase: Phase, control: Control) -> None:
        from mlseg_dist.training.loop import train

        train(config, phase.step, run.path, run.phase(phase), control, control.give_up)


class Evaluate(MapKind):
    """Every teacher on the validation and test splits and the unseen slides: one unit a slide and step."""

    block: ClassVar[Block] = "evaluate"
    on_gpu: ClassVar[bool] = True
    recipe_version: ClassVar[int] = 2
    earlier_recipes: ClassVar[tuple[int, ...]] = (1,)  # figures of patches, which the report names so

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        return config.model_dump(mode="json", include={"training_classes", "evaluate"})

    def folder(self, run: RunFolder, phase: Phase) -> Path:
        return counts_folder(run.path)

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return run.phase(phase) / "evaluation.json"

    def outputs(self, run: RunFolder, phase: Phase) -> tuple[Path, ...]:
        return ()  # names of units hold their inputs: what an edit leaves valid need not be counted again

    def mapping(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> Mapping:
        from mlseg_dist.evaluation import campaign, plan, work

        folder = self.folder(run, phase)
        subject = plan.Subject(config, run.path, config.shards, slide_table(config, run))
        todo, opening = campaign.begin(subject)

        def publish() -> None:
            merge(todo, folder)
            campaign.publish(subject, todo, folder, run.phase(phase), opening, run.events(phase).log)

        return Mapping(
            todo, work.count, work.describe, publish, "passes", "patches", prepare=lambda: work.prepare(todo[0])
        )


class Report(WholeKind):
    """The page that people read, the numbers beside it, and the checks of the config."""

    block: ClassVar[Block] = "small"

    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        return config.model_dump(mode="json", include={"name", "checks"})

    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        return run.report / "index.html"

    def outputs(self, run: RunFolder, phase: Phase) -> tuple[Path, ...]:
        return (run.report,)

    def work(self, config: CampaignConfig, run: RunFolder, phase: Phase, control: Control) -> None:
        from mlseg_dist import report

        report.write(config, run.path, run.phase(phase))


KINDS: dict[KindName, MapKind | WholeKind] = {
    "slides": Slides(),
    "shards": Shards(),
    "generators": Generators(),
    "style": Style(),
    "label": Label(),
    "train": Train(),
    "evaluate": Evaluate(),
    "report": Report(),
}


def kind_of(phase: Phase) -> MapKind | WholeKind:
    return KINDS[phase.kind]


def block_of(config: CampaignConfig, phase: Phase) -> Block:
    """The block of resources of the phase's work."""
    return kind_of(phase).block_in(config.cluster)


def job_of(config: CampaignConfig, phase: Phase) -> JobConfig:
    """The resources of the phase's work."""
    return config.cluster.job(block_of(config, phase))


def _file_hash(path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise UserError("no such slide table", path, "Correct `slides` in the config.")
    return sha256_file(path)
