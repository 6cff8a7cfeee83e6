"""What trains a network on the ranks of a job: DeepSpeed or torch's DistributedDataParallel behind the same verbs."""

from torch import nn

from mlseg_dist.config import TrainConfig
from mlseg_dist.training.engine.base import Engine
from mlseg_dist.training.engine.world import World, join_world

__all__ = ["Engine", "World", "join_world", "make_engine"]


def make_engine(model: nn.Module, train: TrainConfig, world: World) -> Engine:
    """The engine that `train.engine` names, around a model that lies on the world's device already."""
    if train.engine == "ddp":
        from mlseg_dist.training.engine.ddp import DdpEngine

        return DdpEngine(model, train, world)
    if train.zero:
        from mlseg_dist.training.engine.zero import ZeroEngine

        return ZeroEngine(model, train, world)
    from mlseg_dist.training.engine.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(model, train, world)
