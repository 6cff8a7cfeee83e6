"""One arm with one seed, in a process of its own: train on the corpus, then count on slides it never saw.

    python -m benchmarks.study.arm JOB.json

JOB: corpus, folder, seed, model, draws, material (fields of arms.Material). Out: folder/found.json.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.study.arms import Material
from benchmarks.study.patches import count_patches
from launch.config import load_campaign
from mlseg_core.config import validate
from mlseg_core.files import write_json
from mlseg_core.progress import Progress
from mlseg_dist.config import LearningConfig, StepConfig, TrackingConfig
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.evaluation.operating_point import DEFAULT_THRESHOLD
from mlseg_dist.inference import load_teacher
from mlseg_dist.training.loop import train
from mlseg_dist.whole_slide.network import slide_network

ROOT = Path(__file__).parents[2]


def main(path: Path) -> int:
    """Train and count."""
    job = json.loads(path.read_text())
    folder = Path(job["folder"])
    config = arm_config(job)
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "shards").symlink_to(Path(job["corpus"]).absolute())
    phase = folder / "phases" / "00-arm"
    phase.mkdir(parents=True)
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": job["port"]}
    begun = time.monotonic()
    train(config, 0, folder, phase, lambda: False)
    minutes = (time.monotonic() - begun) / 60
    corpus = Corpus(folder / "data" / "shards", config.training_classes)
    refs = corpus.refs(*job["material"]["held_out"])
    slides, called = count_patches(
        slide_network(load_teacher(config, 0, folder), corpus.manifest.ratio),
        corpus,
        refs,
        patch_px=config.train.patch_px,
        batch=config.evaluate.batch,
        threshold=DEFAULT_THRESHOLD if config.evaluate.threshold is None else config.evaluate.threshold,
        progress=Progress("score", len(refs), "pairs", phase / "progress.json"),
    )
    fine = {name: called[number].tolist() for number, name in enumerate(corpus.manifest.classes)}
    write_json(
        folder / "found.json",
        {"minutes": minutes, "slides": {slug: m.tolist() for slug, m in slides.items()}, "fine": fine},
    )
    return 0


def arm_config(job: dict[str, Any]) -> LearningConfig:
    """The campaign's settings with one step, the arm's, as its master-1 but on human labels alone."""
    material = Material(**job["material"])
    config = load_campaign(ROOT / material.config)
    like = next(step for step in config.steps if step.name == "master-1")
    step = like.model_dump(mode="json") | {"name": "arm", "model": job["model"], "epochs": 1.0}
    train_config = config.train.model_copy(
        update={
            "epoch_draws": job["draws"],
            "engine": "ddp",
            "checkpoint_every": 10**6,
            "validations": material.validations,
        }
    )
    return config.model_copy(
        update={
            "seed": job["seed"],
            "steps": (validate(step, StepConfig, "arm"),),
            "train": train_config,
            "tracking": TrackingConfig(enabled=False),
        }
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
