"""A teacher's network as an ONNX file: views as uint8 in, logits and probabilities out, any number of views at once."""

import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mlseg_dist.inference import normalise
from mlseg_dist.model import Network, fold_norms, output_head, view_of
from mlseg_dist.teachers.teacher import Views
from mlseg_dist.whole_slide.network import onto_high_grid

OPSET = 17
TOLERANCE = 1e-4
"""Logits of onnxruntime and of torch may differ by this, and by a 100,000th of the largest where that is above 10: float32 has no
more digits."""
_USUAL = 10.0


class AsOnnx(nn.Module):
    """high, low: uint8 (B, S, S, 3) -> logits of the head that answers, on its own grid, and probabilities on the high view's grid,
    both float32 (B, 3, S, S)."""

    def __init__(self, model: Network, ratio: int) -> None:
        super().__init__()
        self.model, self._ratio = fold_norms(model), ratio

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answers = self.model(normalise(high), normalise(low))
        head = output_head(answers)
        logits = answers[head]
        probabilities = logits.softmax(dim=1)
        return logits, onto_high_grid(probabilities, self._ratio) if view_of(head) == "low" else probabilities


def write_onnx(model: Network, views: Views, path: Path) -> float:
    """Returns the largest difference of logits between onnxruntime and torch, over their size where that is above 10.

    Raises RuntimeError where it is above TOLERANCE.
    """
    network = AsOnnx(model.cpu(), views.ratio).eval()
    tensors = (_like_tissue(views.px, 0), _like_tissue(views.px, 1))
    names = ("high", "low", "logits", "probabilities")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that are taken as constants, which those of views are
        torch.onnx.export(
            network,
            tensors,
            str(path),
            input_names=list(names[:2]),
            output_names=list(names[2:]),
            dynamic_axes={name: {0: "batch"} for name in names},  # a network of one view has one input
            opset_version=OPSET,
            dynamo=False,
        )
        worst = _difference(network, path, tensors)
    if not worst <= TOLERANCE:
        raise RuntimeError(f"{path}: onnxruntime's logits differ from torch's by {worst:.2g}, more than {TOLERANCE:g}")
    return worst


def _like_tissue(side: int, seed: int) -> torch.Tensor:
    """Two views between the colours of glass and of nuclei, uint8 (2, side, side, 3): what the network was made for."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.random((2, 1, 9, 9), np.float32))
    share = F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    colours = torch.tensor([240.0, 240.0, 240.0]) * share + torch.tensor([110.0, 70.0, 140.0]) * (1 - share)
    noise = torch.from_numpy(random.normal(0, 4, colours.shape).astype(np.float32))
    return (colours + noise).clamp(0, 255).to(torch.uint8)


def _difference(network: AsOnnx, path: Path, views: tuple[torch.Tensor, ...]) -> float:
    """Over batches of other sizes than the exported one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in ([0], [1, 0, 1]):
        high, low = (view[batch] for view in views)
        given = {"high": high.numpy(), "low": low.numpy()}
        logits = session.run(["logits"], {one.name: given[one.name] for one in session.get_inputs()})[0]
        wanted = network(high, low)[0].numpy()
        worst = max(worst, float(np.abs(logits - wanted).max()) / max(1.0, float(np.abs(wanted).max()) / _USUAL))
    return worst
