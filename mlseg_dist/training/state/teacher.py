"""The teacher of a step: the checkpoint with the best validation mIoU of the output head."""

import math
from pathlib import Path
from typing import Any

from mlseg_core.files import write_json
from mlseg_dist.training.checkpoint import Damaged, verified_sha256


class BestTeacher:
    """record: {step, miou, iou, operating_point, weights}, what cursors remember of the best validation so far.

    weights: path in the phase's folder. operating_point: chosen on the same validation (evaluation/operating_point.py).

    It decides only: the caller has the step's checkpoint saved, and kept for as long as it is the best (Saver.save, `best`).
    """

    def __init__(self, phase: Path, weights: str = "model") -> None:
        """weights: the state dict that was validated, `model` or `ema`."""
        self.phase, self._weights = phase, weights
        self.record: dict[str, Any] | None = None

    @property
    def step(self) -> int | None:
        """Optimizer step of the best validation so far."""
        return None if self.record is None else self.record["step"]

    def load(self, record: dict[str, Any] | None) -> None:
        """What a cursor remembered."""
        self.record = record

    def offer(self, step: int, scores: dict[str, Any], operating_point: dict[str, Any]) -> bool:
        """True: these are the best scores so far; a tie keeps the earlier, no mIoU (NaN) loses to any. Same on every rank.

        A record without an operating point is of code that counted overlapping patches: it compares with none, and loses.
        """
        if (
            self.record is not None
            and "operating_point" in self.record
            and not _rank(scores["miou"]) > _rank(self.record["miou"])
        ):
            return False
        self.record = {
            "step": step,
            "miou": scores["miou"],
            "iou": scores["iou"],
            "operating_point": operating_point,
            "weights": f"checkpoints/step-{step:08d}/{self._weights}.pt",
        }
        return True

    def damage(self) -> str:
        """What is wrong with the weights on disk; empty: nothing, or there are none yet."""
        try:
            if self.record is not None:
                self._sha256()
        except Damaged as error:
            return str(error)
        return ""

    def publish(self) -> None:
        """Write teacher.json: from now on the step has a teacher. Raises Damaged when its weights are not what was saved."""
        if self.record is None:
            raise RuntimeError(
                "there is no teacher: in no validation were the network's answers finite on at least 99 % of the pixels. "
                "Lower the step's lr or raise train.warmup_steps; events.jsonl says how many there were."
            )
        write_json(self.phase / "teacher.json", {**self.record, "sha256": self._sha256()})

    def _sha256(self) -> str:
        assert self.record is not None
        weights = self.phase / self.record["weights"]
        return verified_sha256(weights.parent, weights.name)


def _rank(miou: float) -> float:
    return -math.inf if math.isnan(miou) else miou
