"""DeepSpeed at stage 0: fp32 parameters, bf16 autocast, torch's own Adam."""

import deepspeed
import torch
from torch import nn

from mlseg_dist.config import TrainConfig
from mlseg_dist.model import channels_last
from mlseg_dist.training.engine.base import Engine
from mlseg_dist.training.engine.world import World


class DeepSpeedEngine(Engine):
    """Averages all gradients in one go, after the last micro-batch's backward."""

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        super().__init__(model, train, world)
        config = {
            "train_micro_batch_size_per_gpu": train.quads_per_micro_batch * 4,
            "gradient_accumulation_steps": self.accumulation,
            "zero_optimization": {"stage": 0},
            "torch_autocast": {"enabled": train.precision == "bf16", "dtype": "bfloat16"},
            "steps_per_print": 10**9,
        }
        # DeepSpeed's own clipping at stage 0 does not tell the norm: the base class clips.
        self._engine, *_ = deepspeed.initialize(model=model, optimizer=self.optimizer, config=config)
        channels_last(model)  # after: DeepSpeed's broadcast over gloo wants plain layouts

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        return self._engine(high, low)

    def backward(self, loss: torch.Tensor) -> None:
        self._engine.backward(loss)

    def _step(self) -> None:
        self._engine.step()
