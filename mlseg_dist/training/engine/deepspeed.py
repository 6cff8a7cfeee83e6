"""DeepSpeed at stage 0: fp32 parameters, bf16 autocast, torch's own Adam."""

from typing import Any

import deepspeed
import torch
from torch import nn

from mlseg_dist.config import TrainConfig
from mlseg_dist.model import channels_last
from mlseg_dist.training.engine.base import Engine
from mlseg_dist.training.engine.world import World, deepspeed_takes


class DeepSpeedEngine(Engine):
    """Averages all gradients in one go, after the last micro-batch's backward."""

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        super().__init__(model, train, world)
        config = {
            "train_micro_batch_size_per_gpu": train.samples_per_micro_batch,
            "gradient_accumulation_steps": self.accumulation,
            "zero_optimization": self._zero(),
            # No modules "safe" in bf16: ZeRO would send their gradients in bf16. Which operators run in bf16 torch decides.
            "torch_autocast": {
                "enabled": train.precision == "bf16",
                "dtype": "bfloat16",
                "lower_precision_safe_modules": [],
            },
            # The base class clips: DeepSpeed's clipping does not tell the norm. Its default is to clip at 1.
            "gradient_clipping": 0.0,
            "steps_per_print": 10**9,
            # It would wait for the device twice a micro-batch; the rates are measured by training.window.
            "timers": {"throughput": {"enabled": False}},
        }
        with deepspeed_takes(world.device):
            self._engine, *_ = deepspeed.initialize(model=model, optimizer=self.optimizer, config=config)
        self._lay_out()

    def _zero(self) -> dict[str, Any]:
        return {"stage": 0}

    def _lay_out(self) -> None:
        channels_last(self.module)  # after: DeepSpeed's broadcast over gloo wants plain layouts

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        return self._engine(high, low)

    def _backward(self, loss: torch.Tensor) -> None:
        self._engine.backward(loss)

    def _step(self) -> None:
        self._engine.step()
