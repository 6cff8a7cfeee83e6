"""A step's teacher as a function: views in, class probabilities out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
import torch

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import LearningConfig
from mlseg_dist.device import device_for, settle_cpu, settle_gpu
from mlseg_dist.model import Network, build_model, channels_last, fold_norms
from mlseg_dist.run_folder import phase_folder, shards_folder, teacher_record
from shards.manifest import read_manifest

Turns = Literal["none", "flips", "d4"]
_TURNS: dict[Turns, tuple[tuple[bool, int], ...]] = {
    "none": ((False, 0),),
    "flips": ((False, 0), (True, 0), (False, 2), (True, 2)),
    "d4": tuple((mirror, quarters) for mirror in (False, True) for quarters in range(4)),
}
"""Turns of test-time augmentation: mirror left and right, then so many quarter turns."""


def normalise(rgb_BHWC: torch.Tensor) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), channels last, about zero mean and unit spread."""
    return (rgb_BHWC.permute(0, 3, 1, 2).float() - 127.5) / 64.0


def level_ratio(run: Path) -> int:
    """low µm/px over high µm/px of the run's corpus."""
    return read_manifest(shards_folder(run) / "manifest.json").ratio


class Predictor:
    """A network in evaluation mode, its norms folded away.

    turns: test-time augmentation, mean of the answers to both views flipped (4 ways) or flipped and turned (8, d4).
    weights: head -> weights of the classes; its answer is then, for each class, the less of its probability and of that which is
    multiplied by the weights and renormalised: what is sure either way. The classes of such a head add up to less than 1.
    """

    def __init__(
        self,
        model: Network,
        precision: str,
        device: torch.device | None = None,
        turns: Turns = "none",
        weights: Mapping[str, Sequence[float]] = MappingProxyType({}),
    ) -> None:
        self.device = device or device_for(share=True)
        self.model = fold_norms(model).to(self.device)
        channels_last(self.model)
        self.bf16 = precision == "bf16"
        self.turns = _TURNS[turns]
        self._weights = {head: torch.tensor(each, device=self.device) for head, each in weights.items()}

    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (B, S, S, 3) each -> head -> softmax probabilities, float32 (B, 3, S, S)."""
        views = (torch.from_numpy(np.ascontiguousarray(x)) for x in (high, low))
        return {head: p.cpu().numpy() for head, p in self.probabilities(*views).items()}

    @torch.inference_mode()
    def probabilities(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        """As predict, of tensors; the answers stay on the device. Does not wait for a GPU when the views are pinned."""
        views = [x.to(self.device, non_blocking=True) for x in (high, low)]
        summed: dict[str, torch.Tensor] = {}
        for turn in self.turns:
            inputs = [normalise(_turned(x, turn, (1, 2))) for x in views]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                logits = self.model(*inputs)
            for head, x in logits.items():
                answer = _turned_back(x.float().softmax(dim=1), turn, (2, 3))
                summed[head] = answer if head not in summed else summed[head] + answer
        if len(self.turns) > 1:
            summed = {head: x / len(self.turns) for head, x in summed.items()}
        for head, weights in self._weights.items():
            light = summed[head] * weights[:, None, None]
            summed[head] = torch.minimum(summed[head], light / light.sum(dim=1, keepdim=True))
        return summed


def _turned(x: torch.Tensor, turn: tuple[bool, int], plane: tuple[int, int]) -> torch.Tensor:
    """plane: the dimensions of rows and columns."""
    mirror, quarters = turn
    x = x.flip(plane[1]) if mirror else x
    return x.rot90(quarters, plane).contiguous() if quarters else x


def _turned_back(x: torch.Tensor, turn: tuple[bool, int], plane: tuple[int, int]) -> torch.Tensor:
    mirror, quarters = turn
    x = x.rot90(-quarters, plane) if quarters else x
    return x.flip(plane[1]) if mirror else x


def teacher_weights(config: LearningConfig, step_index: int, run: Path) -> dict[str, torch.Tensor]:
    """State of a step's published teacher. Raises UserError when it is missing or its file is not the one published."""
    step = config.steps[step_index]
    record = teacher_record(run, step.name)
    path = phase_folder(run, step.name) / record["weights"]
    if not path.exists() or sha256_file(path) != record["sha256"]:
        raise UserError("the teacher's weights are missing or damaged", path, f"Run step {step.name} again.")
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def load_teacher(
    config: LearningConfig,
    step_index: int,
    run: Path,
    turns: Turns = "none",
    norms: Mapping[str, torch.Tensor] = MappingProxyType({}),
    weights: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Predictor:
    """The published teacher of a step, ready to answer on this process's device. Raises UserError.

    norms: BatchNorm's statistics that replace those of training. weights: of the classes (Predictor).
    """
    device = device_for(share=True)
    settle_gpu(device, config.train.deterministic)
    state = teacher_weights(config, step_index, run)
    model = build_model(config.steps[step_index].model, level_ratio(run), config.train.bn_momentum)
    model.load_state_dict({**state, **norms})
    return Predictor(model, config.train.precision, device, turns, weights)


_kept: dict[tuple[str, Turns], Predictor] = {}


def kept_teacher(config: LearningConfig, step_index: int, run: Path, turns: Turns = "none") -> Predictor:
    """load_teacher for a map's worker: loaded once a process, by the hash of its weights; only the last one is kept.

    Settles torch's and OpenCV's threads for such a worker.
    """
    key = (teacher_record(run, config.steps[step_index].name)["sha256"], turns)
    if key not in _kept:
        cv2.setNumThreads(1)  # threads share out samples, not the rows of one
        # A CPU's sums depend on how many threads share them: never the machine's choice.
        settle_cpu(config.train.threads or 1)
        _kept.clear()
        _kept[key] = load_teacher(config, step_index, run, turns)
    return _kept[key]
