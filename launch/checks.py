"""Whether a campaign can be trained: its ranks can share a step, and each training class has something to be learnt from.

The config answers that before anything is queued, and the pairs do once they are cut.
The first step of a campaign learns from people's labels alone and draws every class in every step, so it cannot begin without one.
"""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from launch.config import CampaignConfig
from launch.graph import build_graph
from launch.resources.gpus import tasks_here
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_dist.config import CLASSES
from mlseg_dist.data.class_counts import class_counts
from mlseg_dist.data.order import QUAD
from mlseg_dist.training import sharing
from shards.manifest import Manifest


def training_ranks(config: CampaignConfig) -> int:
    """Ranks of a training job, on SLURM or on this machine, wherever the campaign would run when started from here."""
    executor = config.cluster.executor
    here = executor == "local" or (executor == "auto" and not shutil.which("sbatch"))
    job = config.cluster.job("train")
    return tasks_here(job) if here else job.tasks


def check_ranks(config: CampaignConfig) -> None:
    """Raises UserError, with what would fit, when the ranks cannot share a step and there is something left to train."""
    run = RunFolder.of(config)
    training = [phase for phase in build_graph(config) if phase.kind == "train"]
    if any(not (run.phase(phase) / "done.json").exists() for phase in training):
        sharing.check_ranks(config.train, config.loss, training_ranks(config))


def check_class_maps(config: CampaignConfig) -> None:
    """By the config alone. Raises UserError when no pair of some training class can come of its class maps and caps."""
    for number, name in enumerate(CLASSES):
        fine = _fine_classes(config, number)
        if not fine:
            raise UserError(
                f"no fine class is mapped to {name} ({number})",
                "training_classes",
                "Map one of shards.fine_classes to it.",
            )
        given = config.shards.annotation_classes
        names = config.tiles.classes.values() if config.tiles is not None else given
        if not fine.intersection(given.get(annotated, "") for annotated in names):
            what = f"no annotation is mapped to a fine class of {name} ({', '.join(sorted(fine))})"
            fix = (
                "Name the annotations there" if config.tiles is None else "Map a value of tiles.classes to one of them"
            )
            raise UserError(what, "shards.annotation_classes", f"{fix}, or correct training_classes.")
        if all(config.shards.class_caps.get(one, config.shards.max_per_class) == 0 for one in fine):
            raise UserError(
                f"every fine class of {name} is capped at 0 pairs a slide ({', '.join(sorted(fine))})",
                "shards.class_caps",
                "Raise one of these caps.",
            )


def check_annotated(config: CampaignConfig, annotated: Collection[str], where: Path) -> None:
    """annotated: fine classes that annotations of the train split name. Raises UserError when a training class has none."""
    for number, name in enumerate(CLASSES):
        fine = _fine_classes(config, number)
        if not fine.intersection(annotated):
            raise _missing(config, f"no slide of the train split has an annotation of class {name}", fine, where)


def check_corpus(config: CampaignConfig, corpus: Manifest, where: Path) -> list[str]:
    """By the pairs that were cut. where: the corpus' manifest. Returns warnings.

    Raises UserError when the train split has no annotated pair of a training class.
    """
    pairs = class_counts(corpus, config.training_classes, "train", "seeds")
    for number, name in enumerate(CLASSES):
        if not pairs[name]:
            there = ", ".join(f"{pairs[other]:,} of {other}" for other in CLASSES if pairs[other]) or "none at all"
            what = f"no pair of the train split is annotated as class {name}; there are {there}"
            raise _missing(config, what, _fine_classes(config, number), where)
    validated = class_counts(corpus, config.training_classes, "val", "pixels")
    return [*_few(config, pairs, where), *_not_validated(validated, where)]


def _few(config: CampaignConfig, pairs: Mapping[str, int], where: Path) -> list[str]:
    warnings = []
    for number, name in enumerate(CLASSES):
        drawn = QUAD.count(number) * config.train.quads_per_step
        if pairs[name] < drawn:
            warnings.append(
                f"{where}: the train split has {pairs[name]:,} pairs of class {name}, and every training step draws {drawn:,}: "
                "it sees some of them more than once"
            )
    return warnings


def _not_validated(pixels: Mapping[str, int], where: Path) -> list[str]:
    missing = [name for name in CLASSES if not pixels[name]]
    if len(missing) == len(CLASSES):
        what = "no labelled pixel: each step's teacher is that of its first validation, whatever it has learnt"
        return [f"{where}: the validation split has {what}"]
    if missing:
        what = f"no labelled pixel of class {', '.join(missing)}"
        then = "teachers are chosen by the mean IoU of the other classes, and precision cannot be measured for it"
        return [f"{where}: the validation split has {what}: {then}"]
    return []


def _fine_classes(config: CampaignConfig, training_class: int) -> set[str]:
    return {fine for fine, number in config.training_classes.items() if number == training_class}


def _missing(config: CampaignConfig, what: str, fine: Collection[str], where: Path) -> UserError:
    by_lot = config.tiles is not None and config.tiles.split is None
    more = "Draw other patients (tiles.seed)" if by_lot else "Annotate some on slides of the train split"
    named = ", ".join(sorted(fine)) or "none"
    return UserError(
        f"{what} (fine classes {named})", where, f"{more}, or correct annotation_classes and training_classes."
    )
