"""What each phase was made from and what it made, as references for W&B's lineage graph. Reads JSON files; no network, no wandb.

A reference says a hash and a few numbers, never a path or a name of a slide: the data stay in the run folder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, sha256_file
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import LearningConfig, StepConfig
from mlseg_dist.run_folder import labels_folder, phase_folder, shards_folder, styled_folder, teacher_record

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Reference:
    """name: within the project. kind: corpus, labels, styled, teacher or evaluation. file, sha256: what it stands for.

    facts: numbers shown beside it. alias: another name of this version.
    """

    name: str
    kind: str
    file: str
    sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    alias: str = ""

    @property
    def uri(self) -> str:
        """The same file always has the same one, so that W&B knows that two runs mean one version."""
        return f"mlseg://sha256/{self.sha256}/{self.file}"


@dataclass(frozen=True)
class Lineage:
    """used: what the phase read. made: what it published; both as far as they are there by now."""

    used: tuple[Reference, ...] = ()
    made: tuple[Reference, ...] = ()


def lineage_of(config: LearningConfig, phase: Path) -> Lineage:
    """phase: RUN/phases/NN-name. Nothing for phases of other kinds, and for files that are not there or damaged."""
    run, name = phase.parents[1], phase.name.partition("-")[2]
    steps = {step.name: place for place, step in enumerate(config.steps)}
    if name == "shards":
        return Lineage(made=_known(corpus(config, run)))
    if name == "style":
        return Lineage(_known(corpus(config, run)), _known(styled(config, run)))
    if name in steps:
        return _of_step(config, run, steps[name])
    if name.startswith("label-") and name[6:].isdecimal() and 0 < int(name[6:]) < len(config.steps):
        number = int(name[6:])
        used = _known(corpus(config, run), teacher(config, run, config.steps[number - 1]))
        return Lineage(used, _known(labels(config, run, number)))
    if name == "evaluate":
        return Lineage(_known(corpus(config, run), *teachers(config, run)), _known(evaluation(config, run)))
    return Lineage()


def _of_step(config: LearningConfig, run: Path, index: int) -> Lineage:
    step, number, before = config.steps[index], config.round_of(index), config.step_before(index)
    used = [corpus(config, run)]
    if number is not None:
        used.append(labels(config, run, number))
    if before is not None and (number is not None or step.start == "teacher"):
        used.append(teacher(config, run, config.steps[before]))
    if reads_styled(step.augment):
        used.append(styled(config, run))
    return Lineage(_known(*used), _known(teacher(config, run, step)))


def corpus(config: LearningConfig, run: Path) -> Reference | None:
    return _of_manifest(config, shards_folder(run), "corpus", "corpus")


def labels(config: LearningConfig, run: Path, number: int) -> Reference | None:
    """Those of one round."""
    return _of_manifest(config, labels_folder(run, number), f"labels-{number}", "labels")


def styled(config: LearningConfig, run: Path) -> Reference | None:
    return _of_manifest(config, styled_folder(run), "styled", "styled")


def teacher(config: LearningConfig, run: Path, step: StepConfig) -> Reference | None:
    try:
        record = teacher_record(run, step.name)
    except (UserError, OSError):
        return None
    facts: dict[str, Any] = {
        name: record[name] for name in ("step", "miou", "iou", "operating_point") if name in record
    }
    return Reference(
        _named(config, f"teacher-{step.name}"), "teacher", "teacher.pt", record["sha256"], facts, step.name
    )


def teachers(config: LearningConfig, run: Path) -> list[Reference | None]:
    """Those of all steps, in the campaign's order."""
    return [teacher(config, run, step) for step in config.steps]


def evaluation(config: LearningConfig, run: Path) -> Reference | None:
    try:
        path = phase_folder(run, "evaluate") / "evaluation.json"
        return Reference(_named(config, "evaluation"), "evaluation", path.name, sha256_file(path))
    except (UserError, OSError):
        return None


def _of_manifest(config: LearningConfig, folder: Path, name: str, kind: str) -> Reference | None:
    path = folder / "manifest.json"
    try:
        found = read_json(path)
        facts = dict(found.get("totals", {}))
        if kind == "labels":
            facts |= {key: found["facts"][key] for key in ("round", "teacher", "threshold") if key in found["facts"]}
        return Reference(_named(config, name), kind, path.name, sha256_file(path), facts)
    except (UserError, OSError, KeyError, AttributeError):
        return None


def _named(config: LearningConfig, name: str) -> str:
    """W&B allows letters, digits, `-`, `_` and `.`, at most 128."""
    return _UNFIT.sub("-", f"{config.name}-{name}")[-128:]


def _known(*found: Reference | None) -> tuple[Reference, ...]:
    return tuple(one for one in found if one is not None)
