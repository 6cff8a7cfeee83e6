"""How many level-0 px a pixel of each level spans: measured, because the files do not say it.

Level sizes are whole numbers. Some writers shrink the whole level to the rounded size (the scale is the ratio of the
sizes), some halve and cut off the odd row (the scale is 2, 4, …). At the far edge the two lie a pixel of the level apart.
So both are tried, per axis, on textured windows far from the corner, against the next finer level.
"""

from itertools import product

import numpy as np
from PIL import Image

from shards.pyramids.pyramid import Pyramid, Unreadable

_WINDOW = 64  # px of the level
_PLACES = (0.5, 0.65, 0.8, 0.95)
_WINDOWS = 4
_MATTERS = 0.25  # candidates closer than this at the far edge, px of the finer level, are the same
_CLEARLY = 0.97  # the cut-off reading has to fit so much better than the ratio of the sizes
_NEEDS_TEXTURE = 2.0  # mean gradient, grey values a px


def level_scales(pyramid: Pyramid) -> list[tuple[float, float]]:
    """Level-0 px per level px, (x, y), for each level."""
    scales = [(1.0, 1.0)]
    for level in range(1, len(pyramid.sizes)):
        ratio = _ratio(pyramid, level, scales[-1])
        scales.append((scales[-1][0] * ratio[0], scales[-1][1] * ratio[1]))
    return scales


def _ratio(pyramid: Pyramid, level: int, finer_scale: tuple[float, float]) -> tuple[float, float]:
    """Px of the next finer level per px of this one."""
    full, finer, size = pyramid.sizes[0], pyramid.sizes[level - 1], pyramid.sizes[level]
    by_size = (full[0] / size[0] / finer_scale[0], full[1] / size[1] / finer_scale[1])
    x, y = (_options(by_size[axis], finer[axis] / size[axis], size[axis]) for axis in (0, 1))
    if len(x) == len(y) == 1:
        return by_size
    windows = _textured_windows(pyramid, level)
    misfit = {pair: sum(_misfit(pyramid, level, pair, *window) for window in windows) for pair in product(x, y)}
    best = min(misfit, key=lambda pair: misfit[pair])
    return best if misfit[best] < _CLEARLY * misfit[by_size] else by_size


def _options(by_size: float, from_finer: float, size: int) -> list[float]:
    """The level is the whole slide squeezed into its size, or the finer level is, or the finer level's rest is cut off."""
    options = [by_size]
    for other in (from_finer, float(round(from_finer))):
        if size >= 2 * _WINDOW and all(abs(option - other) * size > _MATTERS for option in options):
            options.append(other)
    return options


Window = tuple[tuple[int, int], np.ndarray]


def _textured_windows(pyramid: Pyramid, level: int) -> list[Window]:
    """Corner and grey px of the windows with the strongest gradients."""
    size = pyramid.sizes[level]
    found = []
    for fx, fy in product(_PLACES, _PLACES):
        corner = (int(fx * (size[0] - _WINDOW)), int(fy * (size[1] - _WINDOW)))
        try:
            part = pyramid.read(level, corner, (min(_WINDOW, size[0]), min(_WINDOW, size[1])))
        except Unreadable:
            continue
        grey = part.rgb.mean(axis=2)
        texture = float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
        if part.covered is None and texture > _NEEDS_TEXTURE:
            found.append((texture, corner, grey))
    found.sort(key=lambda window: -window[0])
    return [(corner, grey) for _, corner, grey in found[:_WINDOWS]]


def _misfit(
    pyramid: Pyramid, level: int, ratio: tuple[float, float], corner: tuple[int, int], grey: np.ndarray
) -> float:
    """Mean difference of a window from the finer level's px, averaged over areas, if the scale is `ratio`."""
    finer = pyramid.sizes[level - 1]
    height, width = grey.shape
    begin = (corner[0] * ratio[0], corner[1] * ratio[1])
    end = (begin[0] + width * ratio[0], begin[1] + height * ratio[1])
    first = (int(begin[0]), int(begin[1]))
    last = (min(finer[0], int(np.ceil(end[0])) + 1), min(finer[1], int(np.ceil(end[1])) + 1))
    try:
        part = pyramid.read(level - 1, first, (last[0] - first[0], last[1] - first[1]))
    except Unreadable:
        return 0.0
    x, y = begin[0] - part.origin[0], begin[1] - part.origin[1]
    box = (
        max(0.0, x),
        max(0.0, y),
        min(x + end[0] - begin[0], part.rgb.shape[1]),
        min(y + end[1] - begin[1], part.rgb.shape[0]),
    )
    image = Image.fromarray(np.ascontiguousarray(part.rgb)).resize((width, height), Image.Resampling.BOX, box=box)
    return float(np.abs(np.asarray(image).mean(axis=2) - grey).mean())
