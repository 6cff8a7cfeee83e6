"""Which labels come out otherwise than builds made them that took every coordinate from level 0 and merged all planes."""

from pathlib import Path

from mlseg_core.errors import UserError
from shards.annotation.origin import Frame
from shards.annotation.planes import OTHER_PLANE
from shards.annotation.read import read_annotation
from shards.config import ShardsConfig


def corrections(path: Path, config: ShardsConfig, frame: Frame) -> tuple[str, ...]:
    """Why the labels of a slide that was cut with RECIPE 5 would differ today, in words; empty: they would not.

    The words complete "this slide has to be cut again: …". They concern where annotations lie, and nothing else.
    """
    try:
        annotation = read_annotation(path, config, frame)
    except UserError as error:
        return (f"its annotation is refused now ({error.what})",)
    found = []
    if annotation.placement.offset != (0.0, 0.0):
        found.append(f"its annotation is counted from {annotation.placement} now, not from level 0")
    left_out = sum(count for kind, count in annotation.ignored.items() if kind.startswith(OTHER_PLANE))
    if left_out:
        found.append(f"its shapes on other planes ({left_out}) are left out now, not merged")
    return tuple(found)
