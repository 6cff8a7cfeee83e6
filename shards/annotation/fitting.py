"""Which image a label mask covers, told by its size: all of level 0, or its scanned bounds.

A mask of another slide can have nearly the same aspect ratio; stretched to fit it would label everything wrongly. So a
mask must have a scale that tools export at, the same along both axes within the rounding of its size: a power of two, a
level of the slide, a whole-number downsample, or a multiple of 0.25 µm/px. The latter two count only as long as the
next such scale would give a visibly other size: beyond, every size would fit one of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlseg_core.errors import UserError
from shards.annotation.origin import Frame, Origin, Placement

_POWERS = range(-3, 13)
_STEP_UM = 0.25
_LEAST_CHANGE_PX = 8
"""The next scale must change the mask's longer side by this much, so that one size in four, by chance, fits some."""


@dataclass(frozen=True)
class Fit:
    """placement: the image that the mask covers; scale: level-0 px per mask px (x, y)."""

    placement: Placement
    scale: tuple[float, float]


@dataclass(frozen=True)
class _Image:
    origin: Origin
    offset: tuple[float, float]
    size: tuple[int, int]

    def __str__(self) -> str:
        name = "level 0" if self.origin == "level0" else "the scanned bounds"
        return f"{name} ({self.size[0]} × {self.size[1]} px)"


def fit_mask(mask: tuple[int, int], frame: Frame, path: Path) -> Fit:
    """mask: its (width, height) px. Raises UserError when it fits neither image of the slide, or both."""
    images = _images(frame)
    fitting = [image for image in images if _has_plausible_scale(mask, image.size, frame)]
    if not fitting and frame.origin is not None:  # somebody has looked, and says which image it covers
        fitting = [image for image in images if _has_shape(mask, image.size)]
    if not fitting:
        raise _fits_none(mask, images, frame, path)
    if len(fitting) > 1:
        raise UserError(
            f"the mask of {mask[0]} × {mask[1]} px fits both {fitting[0]} and {fitting[1]}",
            path,
            "Say which one it covers, level0 or bounds, in column origin of the slide table.",
        )
    [image] = fitting
    placement = Placement("mask", image.origin, image.offset, frame.origin is not None)
    return Fit(placement, (image.size[0] / mask[0], image.size[1] / mask[1]))


def _images(frame: Frame) -> list[_Image]:
    """What the mask may cover; one image where the slide has no bounds, or the slide table says which."""
    whole = _Image("level0", (0.0, 0.0), frame.size)
    if frame.bounds is None or frame.bounds == (0, 0, *frame.size):
        return [whole]
    x, y, width, height = frame.bounds
    scanned = _Image("bounds", (float(x), float(y)), (width, height))
    return [image for image in (whole, scanned) if frame.origin in (None, image.origin)]


def _has_plausible_scale(mask: tuple[int, int], size: tuple[int, int], frame: Frame) -> bool:
    """Sizes may be rounded up or down."""
    scales = _scales(mask, size, frame)
    return any(abs(mask[0] - size[0] / x) < 1 and abs(mask[1] - size[1] / y) < 1 for x, y in scales)


def _scales(mask: tuple[int, int], size: tuple[int, int], frame: Frame) -> Iterator[tuple[float, float]]:
    """Level-0 px per mask px (x, y) that tools export at and that come near."""
    yield from ((2.0**power, 2.0**power) for power in _POWERS)
    yield from ((frame.size[0] / width, frame.size[1] / height) for width, height in frame.levels)
    near = max(size) / max(mask)
    if near**2 * _LEAST_CHANGE_PX <= max(size):
        yield from ((float(whole), float(whole)) for whole in _around(near))
    step = _STEP_UM / math.sqrt(frame.mpp[0] * frame.mpp[1])
    if near**2 * _LEAST_CHANGE_PX <= max(size) * step:
        yield from ((n * _STEP_UM / frame.mpp[0], n * _STEP_UM / frame.mpp[1]) for n in _around(near / step))


def _around(value: float) -> tuple[int, ...]:
    return tuple(n for n in (math.floor(value), math.ceil(value)) if n > 0)


def _fits_none(mask: tuple[int, int], images: list[_Image], frame: Frame, path: Path) -> UserError:
    what = f"the mask is {mask[0]} × {mask[1]} px"
    wanted = " nor of ".join(
        f"{'the slide, ' if image.origin == 'level0' else 'its bounds, '}{image.size[0]} × {image.size[1]}"
        for image in images
    )
    alike = [image for image in images if _has_shape(mask, image.size)]
    if not alike:
        return UserError(
            f"{what}, which is not the shape of {wanted}", path, "Name the mask of this slide; it must cover all of it."
        )
    part = f"1/{max(alike[0].size) / max(mask):.4g} of {alike[0]}"
    return UserError(
        f"{what}, which is {part}: no scale that masks are exported at, so it seems to belong to another slide",
        path,
        "Name the mask of this slide, or export it at level 0 divided by 1, 2, 4, 8, …; if it is this slide's at another "
        f"scale, say {alike[0].origin} in column origin of the slide table.",
    )


def _has_shape(mask: tuple[int, int], size: tuple[int, int]) -> bool:
    across = mask[0] - size[0] * mask[1] / size[1], mask[1] - size[1] * mask[0] / size[0]
    return min(map(abs, across)) <= 1
