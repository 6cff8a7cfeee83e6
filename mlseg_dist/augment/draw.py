"""The draw of one sample: a pure function of (policy, seed, phase, draw index), the same for every executor."""

from typing import Any

from mlseg_core.randomness import generator
from mlseg_dist.augment.albumentations_ops import AlbumentationsOp
from mlseg_dist.augment.parameters import Parameters
from mlseg_dist.augment.policy import OpConfig


def draw_parameters(policy: tuple[OpConfig, ...], seed: int, phase: str, draw_index: int) -> Parameters:
    """Each op has a stream of its own, so that adding, removing or changing one leaves the others' draws as they were."""
    drawn: dict[str, Any] = {}
    for op in policy:
        random = generator(seed, "augment", phase, draw_index, op.stream)
        if random.random() >= op.p:
            continue
        if isinstance(op, AlbumentationsOp):  # the only op that a policy may have several times
            drawn[op.op] = (*drawn.get(op.op, ()), op.draw(random))
        else:
            drawn[op.op] = op.draw(random)
    return Parameters(**drawn)
