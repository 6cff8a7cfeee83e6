"""A teacher as the engine wants it: views in, probabilities of the high view out, without leaving the device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from mlseg_dist.inference import Predictor
from mlseg_dist.model import output_head, view_of

Answers = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Teacher(Protocol):
    """A trained network."""

    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (B, S, S, 3) each -> head -> probabilities, float32 (B, 3, S, S)."""
        ...


@dataclass(frozen=True)
class SlideNetwork:
    """answers(high, low): uint8 (B, S, S, 3) in the host's memory -> float32 (B, 3, S, S) on `device`, on the high grid."""

    answers: Answers
    device: torch.device


def slide_network(teacher: Teacher, ratio: int) -> SlideNetwork:
    """The network's own output; where it sees the low view alone, the high field of its answer, enlarged.

    ratio: low µm/px over high µm/px.
    """
    if isinstance(teacher, Predictor):
        return SlideNetwork(lambda high, low: _high(teacher.probabilities(high, low), ratio), teacher.device)

    def answers(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        found = teacher.predict(high.numpy(), low.numpy())
        return _high({head: torch.from_numpy(p) for head, p in found.items()}, ratio)

    return SlideNetwork(answers, torch.device("cpu"))


def _high(answers: dict[str, torch.Tensor], ratio: int) -> torch.Tensor:
    head = output_head(answers)
    return onto_high_grid(answers[head], ratio) if view_of(head) == "low" else answers[head]


def onto_high_grid(low_BCHW: torch.Tensor, ratio: int) -> torch.Tensor:
    """The centre 1/ratio of maps on the low grid, enlarged to their size."""
    size = low_BCHW.shape[-1]
    part = size // ratio
    edge = (size - part) // 2
    centre = low_BCHW[:, :, edge : edge + part, edge : edge + part]
    return F.interpolate(centre, size=(size, size), mode="bilinear", align_corners=False)
