"""What the jobs train: the second step of a tiny run, for so many optimizer steps."""

from pathlib import Path

from tests.mlseg_dist.prepared_run import Prepared
from tests.mlseg_dist.prepared_run import prepare as prepare_run

STEPS = 24
TRAIN = {
    "patch_px": 32,
    "precision": "fp32",
    "workers": 2,
    "threads": 1,
    "quads_per_micro_batch": 1,
    "micro_batches_per_step": 4,
    "epoch_draws": STEPS * 16,
    "warmup_steps": 2,
    "checkpoint_every": 4,
    "validations": 3,
    "ema": 0.9,
    "bad_samples": "error",
    "health": {"beat_s": 0.5, "name_after_s": 4.0, "end_after_s": 8.0},
}


def prepare(folder: Path) -> Prepared:
    """See prepared_run."""
    return prepare_run(folder, TRAIN)
