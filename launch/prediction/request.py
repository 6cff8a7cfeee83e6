"""What one `mlseg predict --cluster` asked for: OUT/cluster/HASH/request.json, from which each job takes its units. Loads no torch.

The teacher is described whole and named by the hash of its weights, and each slide by its identity: what a job predicts is what was
asked for, or an error.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from launch.private import OWNER_ONLY, holds_secrets
from launch.resources.blocks import ClusterConfig
from launch.run_folder import RunFolder
from launch.run_folder.folder import code_hash, package_folders
from mlseg_core.config import Strict, validate
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Unit
from mlseg_core.files import fingerprint, read_json, write_atomic
from mlseg_dist.prediction.plan import Prediction
from mlseg_dist.teachers.teacher import Sha256, Teacher, TeacherConfig
from shards.slide_table import Slide

FOLDER, _FILE = "cluster", "request.json"
_BREAKS_LOGS = "%\n\r\\"


class SlideRecord(Strict):
    """A unit: name and inputs as planned, and the slide that it predicts. mpp: µm/px of level 0, where somebody gave it."""

    name: str
    inputs: str
    cost: float
    slide: Path
    identity: str
    stain: str
    scanner: str
    mpp: float | None
    mpp_override: bool


class Request(Strict):
    """out: of all slides' folders. weights, place: of the teacher. cluster: the site's resources. All paths are absolute."""

    version: Literal[1] = 1
    out: Path
    teacher: TeacherConfig
    weights: Path
    file_sha256: Sha256
    place: Path
    workers: int | Literal["auto"]
    everywhere: bool
    cluster: ClusterConfig
    slides: tuple[SlideRecord, ...]

    def units(self) -> list[Unit]:
        """As prediction.plan.units made them."""
        teacher = Teacher(self.teacher, self.weights, self.file_sha256, self.place, self.workers)
        return [
            Unit(one.name, one.inputs, Prediction(teacher, _slide(one), one.identity, self.everywhere), one.cost)
            for one in self.slides
        ]


def make_request(units: Sequence[Unit], out: Path, cluster: ClusterConfig) -> Request:
    """units: at least one. Raises UserError for a path that no record can hold."""
    first: Prediction = units[0].payload
    teacher = first.teacher
    return Request(
        out=out.absolute(),
        teacher=teacher.config,
        weights=teacher.weights.absolute(),
        file_sha256=teacher.file_sha256,
        place=teacher.place.absolute(),
        workers=teacher.workers,
        everywhere=first.everywhere,
        cluster=cluster,
        slides=tuple(map(_record, units)),
    )


def folder_of(units: Sequence[Unit], out: Path) -> RunFolder:
    """Where the jobs of these units keep code, plans and logs. Other slides, settings or code get another one. Raises UserError."""
    if any(mark in str(out.absolute()) for mark in _BREAKS_LOGS):
        what = "the path holds %, \\ or a line break, which job logs cannot carry"
        raise UserError(what, out, "Name another folder with --out.")
    inputs = sorted([unit.name, unit.inputs] for unit in units)
    key = fingerprint({"units": inputs, "code": code_hash(package_folders())})
    return RunFolder(out / FOLDER / key[:8])


def write_request(run: RunFolder, request: Request) -> None:
    """Replaces an earlier one, whose resources may have been others. Readable by its owner alone where set-up lines stand in it."""
    blocks = (request.cluster.job("predict"), request.cluster.job("small"))
    mode = OWNER_ONLY if any(map(holds_secrets, blocks)) else None
    text = json.dumps(request.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    write_atomic(run.path / _FILE, text, mode=mode)


def read_request(run: RunFolder) -> Request:
    """Raises UserError."""
    path = run.path / _FILE
    return validate(read_json(path), Request, path)


def _record(unit: Unit) -> SlideRecord:
    wanted: Prediction = unit.payload
    slide = wanted.slide
    try:
        str(slide.slide.absolute()).encode()
    except UnicodeEncodeError:
        raise UserError("its path is not UTF-8", slide.slide, "Rename it, or predict it without --cluster.") from None
    return SlideRecord(
        name=unit.name,
        inputs=unit.inputs,
        cost=unit.cost,
        slide=slide.slide.absolute(),
        identity=wanted.identity,
        stain=slide.stain,
        scanner=slide.scanner,
        mpp=slide.mpp,
        mpp_override=slide.mpp_override,
    )


def _slide(record: SlideRecord) -> Slide:
    return Slide(
        slide=record.slide,
        patient="",
        stain=record.stain,
        scanner=record.scanner,
        source="",
        split="",
        annotation=None,
        mpp=record.mpp,
        score=None,
        mpp_override=record.mpp_override,
    )
