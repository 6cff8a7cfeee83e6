"""A small copy of the campaign: 20 steps a phase, a hundredth of the slides, every transition, one requeue of a training job.

In: the config. Out: a config of its own run folder NAME-rehearsal; once it has run, the rates that `plan` goes by.
"""

import math
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from launch.alerts.config import AlertsConfig
from launch.config import CampaignConfig
from launch.graph import Phase, build_graph
from launch.resources.gpus import tasks_here
from launch.run_folder import RunFolder
from mlseg_core.config import read_yaml
from mlseg_core.csv_text import write_rows
from mlseg_core.errors import UserError
from mlseg_core.files import write_atomic
from mlseg_core.own import refuse_foreign
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import CheckConfig
from mlseg_dist.events import read_events
from shards.slide_table import OPTIONAL, REQUIRED, Slide, read_slide_table

STEPS = 20
SHARE = 0.01
_PHANTOMS = 4  # to learn from: a single one may lack a class
_POLL_S = 0.2


def rehearsal_of(config: CampaignConfig, steps: int = STEPS, share: float = SHARE) -> CampaignConfig:
    """The same networks, batches and jobs on fewer slides for fewer steps. Writes a slide table beside its run folder.

    Raises UserError when no slides of the table hold all training classes.
    """
    name = f"{config.name}-rehearsal"
    train = config.train.model_copy(
        update={
            "epoch_draws": steps * config.train.samples_per_step,
            "warmup_steps": min(config.train.warmup_steps, steps // 4),
            "checkpoint_every": max(1, steps // 2),
            "validations": 1,
            "max_validation_samples": min(config.train.max_validation_samples or 64, 64),
        }
    )
    changes = {
        "name": name,
        "train": train,
        "style": config.style.model_copy(
            update={"steps": steps, "checkpoint_every": max(1, steps // 2), "pairs": None, "min_ssim": 0.0}
        ),
        "steps": tuple(step.model_copy(update={"epochs": 1.0}) for step in config.steps),
        "checks": CheckConfig(),
        "cluster": config.cluster.model_copy(update={"alerts": AlertsConfig()}),  # whoever rehearses watches
        "evaluate": config.evaluate.model_copy(update={"pictures": min(1, config.evaluate.pictures)}),
    }
    if config.phantom is not None:
        counts = ("train", "val", "test", "dev_unseen", "final_unseen")
        fewer = {split: math.ceil(getattr(config.phantom, split) * share) for split in counts}
        fewer["train"] = min(config.phantom.train, max(_PHANTOMS, fewer["train"]))
        changes["phantom"] = config.phantom.model_copy(update=fewer)
    if config.slides is not None:
        changes["slides"] = _write_table(config, config.runs / f"{name}.slides.csv", share)
    return config.model_copy(update=changes)


def _write_table(config: CampaignConfig, target: Path, share: float) -> Path:
    """A part of each split, and of the train split enough slides for every training class, and for two styles if gan_style is used.

    Paths become absolute.
    """
    assert config.slides is not None
    slides = read_slide_table(config.slides)
    chosen = [
        slide for split in dict.fromkeys(s.split for s in slides) for slide in _some(config, slides, split, share)
    ]
    text = _text(chosen)
    _refuse_foreign_table(config, target, set(_text(slides).split("\r\n")))
    write_atomic(target, text)
    return target.absolute()


def _text(slides: Sequence[Slide]) -> str:
    rows: list[Sequence[object]] = [(*REQUIRED, *OPTIONAL)]
    for slide in slides:
        paths = {"slide": slide.slide.absolute(), "annotation": slide.annotation and slide.annotation.absolute()}
        values = {**vars(slide), **paths}
        rows.append([_cell(values[name]) for name in (*REQUIRED, *OPTIONAL)])
    return write_rows(rows, end="\r\n")


def _refuse_foreign_table(config: CampaignConfig, target: Path, lines: set[str]) -> None:
    """A table of that name is ours if the rehearsal's run folder names it, or if all its lines are lines that we write.

    Raises UserError.
    """
    run = RunFolder(config.runs / f"{config.name}-rehearsal")
    named = read_yaml(run.config_path).get("slides") if run.exists() else None
    is_named = isinstance(named, str) and Path(named).absolute() == target.absolute()
    refuse_foreign([target], lambda path: is_named or _lines(path) <= lines)


def _lines(path: Path) -> set[str]:
    return set(path.read_bytes().decode(errors="replace").split("\r\n"))


def _cell(value: object) -> object:
    """A field of Slide as its column has it."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else value


def _some(config: CampaignConfig, slides: Sequence[Slide], split: str, share: float) -> list[Slide]:
    members = [slide for slide in slides if slide.split == split]
    least = math.ceil(len(members) * share)
    if split != "train":
        return members[:least]
    needed: set[object] = {0, 1, 2, *(_two_styles(config, members))}
    chosen: list[Slide] = []
    seen: set[object] = set()
    for slide in members:
        found = {*_training_classes(config, slide), getattr(slide, config.style.by)} & needed
        if len(chosen) < least or found - seen:
            chosen.append(slide)
            seen |= found
        if len(chosen) >= least and needed <= seen:
            return chosen
    raise UserError(
        "the train split lacks a training class", config.slides or "", "Annotate some, or check class maps."
    )


def _two_styles(config: CampaignConfig, slides: Sequence[Slide]) -> list[str]:
    if not any(reads_styled(step.augment) for step in config.steps):
        return []
    return list(dict.fromkeys(style for slide in slides if (style := getattr(slide, config.style.by))))[:2]


def _training_classes(config: CampaignConfig, slide: Slide) -> set[int]:
    """Training classes that the slide's annotation can give seeds of."""
    from shards.annotation import Frame, read_annotation
    from shards.reader import open_slide

    if slide.annotation is None:
        return set()
    try:
        with open_slide(slide, config.shards.high_mpp) as reader:
            annotation = read_annotation(slide.annotation, config.shards, Frame.of(reader, slide.origin))
    except UserError:
        return set()
    names = config.shards.fine_classes
    return {config.training_classes[names[number]] for number in annotation.fine}


class Interruption(threading.Thread):
    """Sends USR2 to the first training job as soon as all its ranks are there: as a preemption, or the time limit, would."""

    def __init__(self, config: CampaignConfig, run: RunFolder, slurm: bool) -> None:
        super().__init__(daemon=True, name="interruption")
        self.run_folder, self.slurm = run, slurm
        self.phase: Phase = next(phase for phase in build_graph(config) if phase.kind == "train")
        job = config.cluster.job("train")
        self.ranks = job.tasks if slurm else tasks_here(job)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_POLL_S) and not (self.run_folder.phase(self.phase) / "done.json").exists():
            tasks = [task for task in self.run_folder.tasks(self.phase) if task.get("status") == "running"]
            if len(tasks) >= self.ranks:
                self._send([int(task["pid"]) for task in tasks], str(tasks[0]["job"]))
                return

    def _send(self, pids: list[int], job: str) -> None:
        if self.slurm:
            subprocess.run(["scancel", "--signal=USR2", job.split("_")[0]], timeout=60, check=False)
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGUSR2)
            except ProcessLookupError:
                continue

    def end(self) -> None:
        self._over.set()
        self.join()

    @property
    def came_through(self) -> bool:
        """Whether the phase was stopped and then finished."""
        folder = self.run_folder.phase(self.phase)
        stopped = any(event["event"] == "stopped" for event in read_events(folder))
        return stopped and (folder / "done.json").exists()
