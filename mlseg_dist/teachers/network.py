"""A teacher, ready to answer on this process's device."""

import cv2
import torch

from mlseg_core.errors import UserError
from mlseg_dist.device import device_for, settle_cpu, settle_gpu
from mlseg_dist.inference import Predictor, Turns
from mlseg_dist.model import Network, build_model
from mlseg_dist.teachers.teacher import SAFETENSORS, Teacher


def read_weights(teacher: Teacher) -> dict[str, torch.Tensor]:
    """Its state, on the CPU. Raises UserError when the file is missing, or not the one that was published."""
    teacher.check_weights()
    if teacher.weights.suffix != SAFETENSORS:
        state: dict[str, torch.Tensor] = torch.load(teacher.weights, weights_only=True, map_location="cpu")
        return state
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = load_file(teacher.weights)
    return found


def build_network(teacher: Teacher) -> Network:
    """The network with its weights, on the CPU. Raises UserError."""
    config = teacher.config
    model = build_model(config.model, config.views.ratio)
    try:
        model.load_state_dict(read_weights(teacher))
    except RuntimeError:  # torch lists every name
        fix = "They belong to another network: restore the record beside them, or make both again."
        raise UserError("the weights do not fit the network", teacher.weights, fix) from None
    return model


def load_network(teacher: Teacher, turns: Turns = "none") -> Predictor:
    """turns: test-time augmentation. Raises UserError."""
    device = device_for(share=True)
    settle_gpu(device, deterministic=False)
    return Predictor(build_network(teacher), teacher.config.precision, device, turns)


_kept: dict[str, Predictor] = {}


def kept_network(teacher: Teacher) -> Predictor:
    """load_network for a map's worker: once a process; only the last one is kept. Settles torch's and OpenCV's threads."""
    key = f"{teacher.file_sha256} {teacher.config.precision}"
    if key not in _kept:
        cv2.setNumThreads(1)
        settle_cpu(teacher.config.threads or 1)
        _kept.clear()
        _kept[key] = load_network(teacher)
    return _kept[key]
