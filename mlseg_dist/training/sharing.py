"""How the ranks of a job share the samples of an optimizer step. Everything that trains follows shared_by().

The draws of a step are the same on any number of ranks (data/order.py numbers them); here it is decided how many of them a rank
sends through the network at once.
"""

import math

from mlseg_core.errors import UserError
from mlseg_dist.config import LossConfig, TrainConfig


def shared_by(train: TrainConfig, loss: LossConfig, ranks: int) -> TrainConfig:
    """The settings as `ranks` ranks train by them; micro-batches are then what goes through a network at once.

    loss.group `micro-batch`: they stay, and ranks take micro-batches in turn. `step`: the loss needs all samples of a step at
    the same time, so each rank has one micro-batch, which holds its share of the step's quads.
    Raises UserError, with what would fit, unless the shares are equal.
    """
    check_ranks(train, loss, ranks)
    if loss.group == "micro-batch":
        return train
    return train.model_copy(
        update={"quads_per_micro_batch": train.quads_per_step // ranks, "micro_batches_per_step": ranks}
    )


def check_ranks(train: TrainConfig, loss: LossConfig, ranks: int) -> None:
    """Raises UserError, with what would fit, unless `ranks` ranks can share a step evenly."""
    micro_batches, quads = train.micro_batches_per_step, train.quads_per_step
    whole = quads if loss.group == "step" else micro_batches
    if whole % ranks == 0:
        return
    if loss.group == "step":
        what = (
            f"{ranks} ranks cannot share {train.samples_per_step} samples evenly:"
            f" they are {quads} quads of 2 tumour, 1 normal and 1 others, which stay whole"
        )
        each = ranks // math.gcd(ranks, train.quads_per_micro_batch)
    else:
        what = f"{ranks} ranks cannot share {micro_batches} micro-batches evenly"
        each = ranks
    more = each * math.ceil(micro_batches / each)
    fits = ", ".join(str(n) for n in range(1, whole + 1) if whole % n == 0)
    raise UserError(
        what,
        "train.micro_batches_per_step",
        f"Use {fits} ranks, or {more} micro-batches: {more * train.samples_per_micro_batch} samples a step"
        " (configs/paper-8.yaml says what a larger batch changes).",
    )
