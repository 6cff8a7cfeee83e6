"""The teacher of a step: the weights with the best validation mIoU of the output head, published with their hash."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlseg_core.files import sha256_file, write_atomic, write_json
from mlseg_dist.training.engine import World


class BestTeacher:
    """Keeps `teacher/step-N.pt` of the best validation so far. record: what checkpoints remember of it."""

    def __init__(self, phase: Path) -> None:
        self.phase = phase
        self.record: dict[str, Any] | None = None

    def load(self, record: dict[str, Any] | None) -> None:
        self.record = record

    def offer(self, step: int, scores: dict[str, Any], model: nn.Module, world: World) -> None:
        """Take the model when its mIoU beats the best so far; a tie keeps the earlier one. Same decision on every rank."""
        if self.record is not None and scores["miou"] <= self.record["miou"]:
            return
        name = f"teacher/step-{step:08d}.pt"
        self.record = {"step": step, "miou": scores["miou"], "iou": scores["iou"], "weights": name}
        if world.rank == 0:
            buffer = io.BytesIO()
            torch.save({key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}, buffer)
            write_atomic(self.phase / name, buffer.getvalue())

    def drop_older(self, world: World) -> None:
        """Once a checkpoint remembers the new best, the old one's weights are not needed."""
        if world.rank == 0 and self.record is not None:
            for path in (self.phase / "teacher").glob("step-*.pt"):
                if path.name != Path(self.record["weights"]).name:
                    path.unlink()

    def publish(self) -> None:
        """Write teacher.json: from now on the step has a teacher."""
        if self.record is None:
            raise RuntimeError("no validation was run, so there is no teacher")
        sha256 = sha256_file(self.phase / self.record["weights"])
        write_json(self.phase / "teacher.json", {**self.record, "sha256": sha256})
