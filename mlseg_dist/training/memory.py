"""Micro-batches that do not fit into the device's memory: recognised, and the largest that fits found by trying."""

import gc
import sys
import traceback
from collections.abc import Callable

import torch
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import LossGroup, TrainConfig
from mlseg_dist.inference import normalise
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.training.engine import World

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "ALLOC_FAILED",  # cuDNN, cuBLAS: their workspaces
    "could not create a primitive",  # oneDNN, which does not say why; seen where its buffers find no room
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU (torch.OutOfMemoryError, cuDNN's and cuBLAS's own words) or the host ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def largest_that_fits(attempt: Callable[[int], None], quads: int) -> int:
    """The most quads, up to `quads`, with which attempt(quads) does not run out of memory; 0: not even one does.

    Tries `quads`, then halves the interval, freeing memory in between. Errors of another kind are raised.
    """
    fits, too_many = 0, quads + 1
    trial = quads
    while too_many - fits > 1:
        if _fits(attempt, trial):
            fits = trial
        else:
            too_many = trial
        trial = (fits + too_many) // 2
    return fits


def _fits(attempt: Callable[[int], None], quads: int) -> bool:
    try:
        attempt(quads)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        fitted = False
    else:
        fitted = True
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fitted


def check_fits(model: nn.Module, loss: SegmentationLoss, train: TrainConfig, world: World) -> None:
    """Before the engine is made; all ranks call. Raises UserError on all of them, with advice, when the micro-batch of
    `train` does not fit on one."""
    quads = train.quads_per_micro_batch
    elements = sum(parameter.numel() for parameter in model.parameters())
    # What comes later and stays: Adam's two moments, the engine's copy of the gradient, the average.
    later = torch.empty(elements * (3 + (train.ema is not None)), device=world.device)
    fits = largest_that_fits(trial(model, loss, train, world.device), quads)
    del later
    refused = world.agree([fits < wanted for wanted in range(1, quads + 1)])
    if refused[-1]:
        raise does_not_fit(train, loss.config.group, refused.index(True), world)


def advice(model: nn.Module, loss: SegmentationLoss, train: TrainConfig, world: World) -> UserError:
    """To be raised instead of an out-of-memory error that is being handled. Tries smaller micro-batches on this rank alone."""
    error = sys.exception()
    if error is not None:
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the step that failed
    model.zero_grad()
    gc.collect()
    fits = largest_that_fits(trial(model, loss, train, world.device), train.quads_per_micro_batch - 1)
    return does_not_fit(train, loss.config.group, fits, world)


def trial(model: nn.Module, loss: SegmentationLoss, train: TrainConfig, device: torch.device) -> Callable[[int], None]:
    """quads -> forward and backward of a black micro-batch, without collectives; the model is left as it was."""
    config = loss.config.model_copy(update={"group": "micro-batch"})
    alone = SegmentationLoss(config, "dynamic" if loss.dynamic else "static").to(device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def attempt(quads: int) -> None:
        kept = [buffer.clone() for buffer in model.buffers()]
        devices = [device] if device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices):
                shape = (4 * quads, train.patch_px, train.patch_px)
                high, low = (normalise(torch.zeros(*shape, 3, dtype=torch.uint8, device=device)) for _ in range(2))
                targets = {view: torch.zeros(shape, dtype=torch.uint8, device=device) for view in ("high", "low")}
                with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16"):
                    logits = model(high, low)
                # Not backward(): gradients must not come to an engine's hooks.
                torch.autograd.grad(alone(logits, targets)[0], parameters, allow_unused=True)
        finally:
            for buffer, value in zip(model.buffers(), kept, strict=True):
                buffer.copy_(value)

    return attempt


def does_not_fit(train: TrainConfig, group: LossGroup, fits: int, world: World) -> UserError:
    """train: as the ranks share it. group: of the loss. fits: quads that do. The advice keeps the samples of a step."""
    wanted = train.quads_per_micro_batch
    what = f"a micro-batch of {4 * wanted} samples of {train.patch_px} px does not fit on {_name(world.device)}"
    if fits == 0:
        fix = (
            "Not even one of 4 does: use smaller views (train.patch_px), a smaller model or a device with more memory."
        )
        return UserError(what, "train.quads_per_micro_batch", fix)
    total = train.quads_per_step
    quads = max(q for q in range(1, fits + 1) if total % q == 0 and (total // q) % world.size == 0)
    smaller = f"set train.quads_per_micro_batch={quads} and train.micro_batches_per_step={total // quads}"
    if group == "micro-batch":
        return UserError(
            what,
            "train.quads_per_micro_batch",
            f"One of {4 * fits} would; {smaller}, which keeps {4 * total} samples a step.",
        )
    ranks = next(n for n in range(world.size + 1, total + 1) if total % n == 0 and total // n <= fits)
    return UserError(
        f"{what}, and with loss.group: step each of {world.size} ranks takes its {4 * wanted} of {4 * total} samples at once",
        "loss.group",
        f"One of {4 * fits} would: use {ranks} ranks; or set loss.group=micro-batch, {smaller},"
        f" which keeps {4 * total} samples a step but weighs classes within each {4 * quads}.",
    )


def _name(device: torch.device) -> str:
    if device.type != "cuda":
        return "this machine's CPU memory"
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)"
