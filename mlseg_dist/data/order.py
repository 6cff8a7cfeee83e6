"""Order: a pure function (pools, seed, phase) -> micro-batches -> draws. The atom is the quad: 2 tumour, 1 normal, 1 others.

Class streams run on across epochs: each pass over a class's pairs is a new permutation, so no tail is never seen. A
draw's index is its place in the phase; all randomness of a draw is keyed by it.
"""

from dataclasses import dataclass

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.randomness import generator
from mlseg_dist.data.corpus import PairRef

QUAD = (1, 1, 0, 2)
"""Training classes of a quad's draws: tumour, tumour, background/normal, others."""


@dataclass(frozen=True)
class Draw:
    """The `index`-th sample of a phase."""

    index: int
    pair: PairRef


class Order:
    """Draws of a phase. pools: training class -> pairs, in the manifest's order."""

    def __init__(self, pools: dict[int, list[PairRef]], seed: int, phase: str, quads_per_micro_batch: int) -> None:
        self.pools, self.seed, self.phase, self.quads = pools, seed, phase, quads_per_micro_batch
        self._passes: dict[tuple[int, int], np.ndarray] = {}

    def micro_batch(self, number: int) -> list[Draw]:
        """The draws of micro-batch `number` of the phase, quad by quad."""
        draws = []
        for quad in range(number * self.quads, (number + 1) * self.quads):
            draws += [Draw(quad * len(QUAD) + slot, self._pair(quad, slot)) for slot in range(len(QUAD))]
        return draws

    def _pair(self, quad: int, slot: int) -> PairRef:
        training_class = QUAD[slot]
        position = quad * QUAD.count(training_class) + QUAD[:slot].count(training_class)
        pool = self.pools[training_class]
        turn, within = divmod(position, len(pool))
        return pool[self._permutation(training_class, turn)[within]]

    def _permutation(self, training_class: int, turn: int) -> np.ndarray:
        key = (training_class, turn)
        if key not in self._passes:
            random = generator(self.seed, "order", self.phase, training_class, turn)
            self._passes[key] = random.permutation(len(self.pools[training_class]))
        return self._passes[key]


def check_world(micro_batches_per_step: int, world: int) -> None:
    """Raises UserError, naming the world sizes that fit, unless `world` ranks can share a step's micro-batches evenly."""
    if micro_batches_per_step % world:
        fits = [str(n) for n in range(1, micro_batches_per_step + 1) if micro_batches_per_step % n == 0]
        raise UserError(
            f"{world} ranks cannot share {micro_batches_per_step} micro-batches evenly",
            "train.micro_batches_per_step",
            f"Use {', '.join(fits)} ranks, or another number of micro-batches.",
        )
