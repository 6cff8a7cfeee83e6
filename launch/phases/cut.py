"""Slides and shards: slides that are drawn or made of tiles, and slides cut into tars of samples."""

from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from launch.config import CampaignConfig
from launch.graph import Phase
from launch.phases.kind import MapKind, MapWork
from launch.resources.blocks import Block
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import merge
from mlseg_core.files import sha256_file
from mlseg_dist.run_folder import shards_folder


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

    def map_work(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> MapWork:
        maker, settings = slide_maker(config)
        folder, todo = self.folder(run, phase), maker.units(settings)

        def publish() -> None:
            merge(todo, folder)
            maker.write_table(settings, folder)

        return MapWork(todo, maker.draw, None, publish, "slides")


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

    def map_work(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> MapWork:
        from shards import cutting

        table, folder = slide_table(config, run), self.folder(run, phase)
        plan = cutting.plan_cut(config.shards, table, folder)

        def publish() -> None:
            from launch.checks import check_corpus

            corpus = cutting.write_manifest(config.shards, table, plan.units, folder, plan.known)
            for warning in check_corpus(config, corpus, self.manifest(run, phase)):
                run.events(phase).log("few-labels", warning, "warning")

        return MapWork(
            plan.units,
            cutting.cut,
            cutting.describe,
            publish,
            "slides",
            "pairs",
            goes_on=True,
        )


def _file_hash(path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise UserError("no such slide table", path, "Correct `slides` in the config.")
    return sha256_file(path)
