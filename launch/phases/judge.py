"""Evaluation and report: how good the teachers are, and the page that says it."""

from pathlib import Path
from typing import Any, ClassVar

from launch.config import CampaignConfig
from launch.graph import Phase
from launch.phases.cut import slide_table
from launch.phases.kind import Control, MapKind, MapWork, WholeKind
from launch.resources.blocks import Block
from launch.run_folder import RunFolder
from mlseg_core.exactly_once.run import merge
from mlseg_dist.run_folder import counts_folder


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

    def map_work(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> MapWork:
        from mlseg_dist.evaluation import campaign, plan, work

        folder = self.folder(run, phase)
        subject = plan.Subject(config, run.path, config.shards, slide_table(config, run))
        todo, opening = campaign.begin(subject)

        def publish() -> None:
            merge(todo, folder)
            campaign.publish(subject, todo, folder, run.phase(phase), opening, run.events(phase).log)

        return MapWork(
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
