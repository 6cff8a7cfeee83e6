"""The teacher of a step: the checkpoint with the best validation mIoU of the output head."""

import math
from pathlib import Path
from typing import Any

from mlseg_core.files import write_json
from mlseg_dist.training.checkpoint import Damaged, verified_sha256


class BestTeacher:
    """record: {step, miou, iou, weights}, what cursors remember of the best validation so far; weights: path in the phase's folder.

    It decides only: the caller has the step's checkpoint saved, and kept for as long as it is the best (Saver.save, `best`).
    """

    def __init__(self, phase: Path, weights: str = "model") -> None:
        """weights: the state dict that was validated, `model` or `ema`."""
        self.phase, self._weights = phase, weights
        self.record: dict[str, Any] | None = None

    @property
    def step(self) -> int | None:
        """Of the best so far."""
        return None if self.record is None else self.record["step"]

    def load(self, record: dict[str, Any] | None) -> None:
        """What a cursor remembered."""
        self.record = record

    def offer(self, step: int, scores: dict[str, Any]) -> bool:
        """True: these are the best scores so far; a tie keeps the earlier, no mIoU (NaN) loses to any. Same on every rank."""
        if self.record is not None and not _rank(scores["miou"]) > _rank(self.record["miou"]):
            return False
        weights = f"checkpoints/step-{step:08d}/{self._weights}.pt"
        self.record = {"step": step, "miou": scores["miou"], "iou": scores["iou"], "weights": weights}
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
            raise RuntimeError("no validation was run, so there is no teacher")
        write_json(self.phase / "teacher.json", {**self.record, "sha256": self._sha256()})

    def _sha256(self) -> str:
        assert self.record is not None
        weights = self.phase / self.record["weights"]
        return verified_sha256(weights.parent, weights.name)


def _rank(miou: float) -> float:
    return -math.inf if math.isnan(miou) else miou
