"""Generators, styled views, labels and training: the phases that work with networks."""

import os
from pathlib import Path
from typing import Any, ClassVar

from launch.config import CampaignConfig
from launch.graph import Phase
from launch.phases.kind import Control, MapKind, MapWork, WholeKind
from launch.resources.blocks import Block, ClusterConfig
from launch.run_folder import RunFolder
from mlseg_dist.run_folder import generators_folder, labels_folder, shards_folder, styled_folder


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

    def map_work(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> MapWork:
        from mlseg_dist.style import publish, work

        folder = self.folder(run, phase)
        todo = work.units_of(config, shards_folder(run.path), run.data)
        tell = run.events(phase).log
        return MapWork(
            todo, work.style, work.describe, lambda: publish.write_styled(todo, folder, tell), "shards", "pairs"
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

    def map_work(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> MapWork:
        from mlseg_dist import labelling

        folder = self.folder(run, phase)
        return MapWork(
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
