"""Hue and saturation of pixels as stored and after each policy (figure 7 of the paper)."""

import io
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, LogNorm, hsv_to_rgb
from matplotlib.figure import Figure

from mlseg_dist.augment import Parameters, augment, draw_parameters
from mlseg_dist.augment.show.sources import Sources
from mlseg_dist.report.look import INK, MATPLOTLIB, MUTED

DRAWS = 8
"""Draws of each pair."""
_HUES, _SATURATIONS = 72, 32
_DENSITY = LinearSegmentedColormap.from_list("density", ["#ffffff", "#c9d8ea", "#7ba3cf", "#1f4e8c", "#0b1f3f"])
_COLOURED = 30
"""Least S of 255 of pixels whose hue counts in the figures of spread."""


@dataclass(frozen=True)
class Spread:
    """density: share of pixels, (hues, saturations). hue: circular standard deviation, degrees; saturation: S of 255 between
    the 5th and the 95th percentile; both of coloured pixels.
    """

    density: np.ndarray
    hue: float
    saturation: tuple[float, float]


def spreads(sources: Sources, seed: int, draws: int = DRAWS) -> dict[str, Spread]:
    """As stored, then by policy, over all pairs of `sources`. draws: of each pair."""
    patch = sources.config.train.patch_px
    found = {"as stored": _spread([augment(v, Parameters(), sources.mpp, patch).low for v in sources.views])}
    for names, step in sources.policies.items():
        images = []
        for number, views in enumerate(sources.views):
            for draw in range(draws):
                p = draw_parameters(step.augment, seed, step.name, number * draws + draw)
                images.append(augment(views, p, sources.mpp, patch).low)
        found[names] = _spread(images)
    return found


def _spread(images: list[np.ndarray]) -> Spread:
    pixels = np.concatenate([cv2.resize(image, (64, 64), interpolation=cv2.INTER_NEAREST) for image in images])
    hue, saturation, _ = np.moveaxis(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), -1, 0)
    density, _, _ = np.histogram2d(
        hue.ravel(), saturation.ravel(), bins=(_HUES, _SATURATIONS), range=((0, 360), (0, 1))
    )
    coloured = saturation * 255 >= _COLOURED
    if not coloured.any():
        return Spread(density / density.sum(), 0.0, (0.0, 0.0))
    mean = abs(np.exp(1j * np.radians(hue[coloured])).mean())
    low, high = np.quantile(saturation[coloured] * 255, (0.05, 0.95))
    return Spread(density / density.sum(), float(np.degrees(np.sqrt(-2 * np.log(mean)))), (float(low), float(high)))


def figure(found: dict[str, Spread]) -> bytes:
    """PNG: one disc a policy; the angle is hue, the distance from the centre S, the shade how many pixels lie there."""
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    with matplotlib.rc_context(MATPLOTLIB):
        drawn = Figure(figsize=(2.75 * columns, 3.2 * rows), layout="constrained", dpi=130)
        for number, (name, spread) in enumerate(found.items()):
            _disc(drawn, (rows, columns, number + 1), name, spread)
        data = io.BytesIO()
        drawn.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _disc(drawn: Figure, place: tuple[int, int, int], name: str, spread: Spread) -> None:
    axes = drawn.add_subplot(*place, projection="polar")
    hues, radii = np.radians(np.linspace(0, 360, _HUES + 1)), np.linspace(0, 1, _SATURATIONS + 1)
    area = np.diff(radii**2)  # a cell further out is larger: show density, not counts
    shade = np.ma.masked_equal(spread.density / area, 0)
    axes.pcolormesh(hues, radii, shade.T, cmap=_DENSITY, norm=LogNorm(1e-3, 3), rasterized=True)
    ring = np.linspace(0, 360, 181)
    colours = hsv_to_rgb(np.stack([ring[:-1] / 360, np.full(180, 0.75), np.full(180, 0.92)], -1))
    axes.bar(np.radians(ring[:-1]), 0.07, np.radians(2.2), 1.03, color=colours, align="edge", linewidth=0)
    axes.set(ylim=(0, 1.1), yticks=[0.25, 0.5, 0.75, 1.0], xticks=[], yticklabels=[])
    axes.spines["polar"].set_visible(False)
    axes.set_title(name.replace("$", r"\$"), loc="center", color=INK, fontsize=9.5, pad=6)
    low, high = spread.saturation
    said = f"hue ±{spread.hue:.0f}°, S {low:.0f} to {high:.0f}"
    axes.text(0.5, -0.04, said, transform=axes.transAxes, ha="center", va="top", fontsize=8.5, color=MUTED)
