"""Which level ratios, hooks and sides of views a network can take: checked before anything is built or queued."""

from dataclasses import dataclass

from mlseg_core.errors import UserError
from mlseg_dist.config import HookNetConfig, ModelConfig

COARSEST = 32
"""Stride of a complete encoder's last map."""


def fits(model: ModelConfig, ratio: int, side: int) -> bool:
    """Whether views of `side` px can be taken: strides divide it, and crops lie in its middle. ratio: low over high µm/px."""
    if side <= 0:
        return False
    if model.kind == "hooknet":
        return _hooknet_fits(model.hooknet, ratio, side)
    if side % COARSEST:
        return False
    if model.kind != "munet":
        return True
    cells = [side, *(side * ratio // hook for hook in model.hooks)]
    return all(n % ratio == 0 and (n - n // ratio) % 2 == 0 for n in cells)


def check_side(model: ModelConfig, ratio: int, side: int, where: str) -> None:
    """Raises UserError, naming the nearest sides that fit, unless the network can take views of `side` px."""
    if fits(model, ratio, side):
        return
    below = next((s for s in range(side - 1, 0, -1) if fits(model, ratio, s)), None)
    above = next((s for s in range(side + 1, 2 * side + 4096) if fits(model, ratio, s)), None)
    near = " or ".join(str(s) for s in (below, above) if s is not None)
    raise UserError(f"a {model.kind} cannot take views of {side} px", where, f"Nearest sizes that fit: {near}.")


@dataclass(frozen=True)
class BranchSides:
    """Cells along a side of a HookNet branch's maps. skips: finest first; ups: what meets them; stages: what follows."""

    skips: tuple[int, ...]
    bottleneck: int
    ups: tuple[int, ...]
    stages: tuple[int, ...]


def branch_sides(config: HookNetConfig, side: int) -> BranchSides | None:
    """What a view of `side` px becomes in a HookNet branch; None where a pooling or a centre crop does not come out even."""
    lost = 2 if config.padding == "valid" else 0  # by a 3x3 convolution
    skips: list[int] = []
    for _ in range(config.depth):
        side -= 2 * lost
        if side <= 0 or side % 2:
            return None
        skips.append(side)
        side //= 2
    bottleneck = deep = side - 2 * lost
    ups: list[int] = []
    stages: list[int] = []
    for skip in reversed(skips):
        up = 2 * deep - lost
        deep = up - 2 * lost
        if deep <= 0 or (skip - up) % 2:
            return None
        ups.append(up)
        stages.append(deep)
    return BranchSides(tuple(skips), bottleneck, tuple(ups), tuple(stages))


def hook_stage(config: HookNetConfig, ratio: int) -> int:
    """Which stage of HookNet's context decoder, coarsest first, has cells as large in µm as the target's bottleneck.

    Raises UserError when none has.
    """
    possible = [2**level for level in range(1, config.depth + 1)]
    if ratio not in possible:
        raise UserError(
            f"no HookNet of depth {config.depth} for a level ratio of {ratio}",
            "model.hooknet.depth",
            f"low_mpp / high_mpp must be one of {', '.join(map(str, possible))}.",
        )
    return possible.index(ratio)


def _hooknet_fits(config: HookNetConfig, ratio: int, side: int) -> bool:
    plan = branch_sides(config, side)
    if plan is None:
        return False
    around = plan.stages[hook_stage(config, ratio)] - plan.bottleneck
    return around >= 0 and around % 2 == 0


def check_network(model: ModelConfig, ratio: int) -> None:
    """Raises UserError unless a campaign can use this network at this level ratio."""
    if model.kind == "munet":
        check_hooks(model, ratio)
    elif model.kind == "hooknet":
        hook_stage(model.hooknet, ratio)
        if model.hooknet.padding == "valid":
            raise UserError(
                "a HookNet of valid convolutions answers for the centre of its views only; a teacher must label all of them",
                "model.hooknet.padding",
                "Use same.",
            )


def check_hooks(model: ModelConfig, ratio: int) -> None:
    """Raises UserError unless an m-UNet can be built for this level ratio and these hooks."""
    if ratio not in (2, 4, 8, 16):
        raise UserError(f"no m-UNet for a level ratio of {ratio}", "model", "low_mpp / high_mpp must be 2, 4, 8 or 16.")
    too_fine = [hook for hook in model.hooks if hook < ratio]
    if too_fine:
        raise UserError(
            f"no hook at stride {too_fine[0]}: at a level ratio of {ratio} the low view has no cells so small",
            "model.hooks",
            f"Use strides from {ratio} to 16.",
        )
    unreached = [hook for hook in model.hooks if hook < model.decoder.stride]
    if unreached:
        raise UserError(
            f"no hook at stride {unreached[0]}: the high decoder ends at stride {model.decoder.stride}",
            "model.hooks",
            "Use a coarser hook, or a finer model.decoder.stride.",
        )
