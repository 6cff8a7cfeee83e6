"""The published teacher of a run's step. Loads no torch."""

from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import LearningConfig
from mlseg_dist.evaluation import operating_point
from mlseg_dist.run_folder import phase_folder, shards_folder, teacher_record
from mlseg_dist.teachers.teacher import Operating, Teacher, TeacherConfig, Views, seen_domains
from shards.config import ShardsConfig
from shards.manifest import kept_manifest


def teacher_of_run(config: LearningConfig, step_index: int, run: Path, shards: ShardsConfig) -> Teacher:
    """shards: how the run's corpus was cut. Raises UserError: no teacher yet, or one whose weights are gone."""
    step = config.steps[step_index]
    record = teacher_record(run, step.name)
    manifest = shards_folder(run) / "manifest.json"
    corpus = kept_manifest(manifest)
    point = operating_point.of_teacher(run, step.name, config)
    described = TeacherConfig(
        campaign=config.name,
        step=step.name,
        model=step.model,
        views=Views(
            high_mpp=corpus.views["high_mpp"], low_mpp=corpus.views["low_mpp"], px=round(corpus.views["store_px"])
        ),
        operating=Operating(threshold=point.threshold, temperature=point.temperature, source=point.source),
        precision=config.train.precision,
        batch=config.evaluate.batch,
        threads=config.train.threads,
        training_classes=config.training_classes,
        shards=shards,
        seen=seen_domains(corpus),
        corpus_sha256=sha256_file(manifest),
        weights_sha256=record["sha256"],
    )
    weights = phase_folder(run, step.name) / record["weights"]
    if not weights.is_file():
        raise UserError("the teacher's weights are missing", weights, f"Run step {step.name} again.")
    return Teacher(described, weights, record["sha256"], run, config.train.workers)


def taught_steps(config: LearningConfig, run: Path) -> list[int]:
    """Indices of the steps that have a teacher."""
    return [
        number
        for number, step in enumerate(config.steps)
        if list(run.glob(f"phases/[0-9][0-9]-{step.name}/teacher.json"))
    ]
