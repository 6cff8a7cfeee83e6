"""Cells of each tissue put on a canvas: nuclei of about 8 µm, marked or not, and stained membranes."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from shapely.geometry.base import BaseGeometry

from shards.phantom.canvas import Canvas, scattered
from shards.phantom.layout import Thing
from shards.phantom.lookalike import LookalikePair
from shards.phantom.shapes import Points, polygon


@dataclass(frozen=True)
class Marker:
    """What the stain marks: where, in which fraction of tumour cells, with how much chromogen (OD)."""

    where: str
    positive: float
    amount: float


def nuclei(
    canvas: Canvas,
    random: Generator,
    centres: Points,
    half_axes: tuple[float, float],
    degrees: np.ndarray | None = None,
    amount: float = 0.75,
    marker: Marker | None = None,
    fraction: float = 1.0,
) -> None:
    """Draw nuclei of about `half_axes` µm; `fraction` scales the marker's share of positive cells."""
    count = len(centres)
    axes = np.array(half_axes) * random.uniform(0.82, 1.18, (count, 2))
    turns = random.uniform(0, 180, count) if degrees is None else degrees
    blue = amount * random.uniform(0.75, 1.25, count)
    if marker is not None and marker.where == "nucleus":
        hit = random.random(count) < marker.positive * fraction
        brown = marker.amount * random.uniform(0.6, 1.3, count)
        canvas.ellipses(canvas.chromogen, centres[hit], axes[hit], turns[hit], brown[hit])
        blue = np.where(hit, blue * 0.3, blue)  # chromogen hides most of the counterstain
    canvas.ellipses(canvas.counterstain, centres, axes, turns, blue)
    # A paler heart in larger nuclei: open chromatin.
    open_ = axes[:, 0] > 3.6
    inner = centres[open_] + random.uniform(-0.8, 0.8, (int(open_.sum()), 2))
    canvas.ellipses(canvas.counterstain, inner, axes[open_] * 0.5, turns[open_], blue[open_] * 0.75)


def mass_cells(random: Generator, pair: LookalikePair) -> Points:
    """Where the cells of a mass lie, N×2 µm."""
    return scattered(random, pair.mass.buffer(-2.5), 10.0, 0.24)


def mass(canvas: Canvas, random: Generator, pair: LookalikePair, marker: Marker) -> None:
    """Cell-dense nests; nothing here may depend on the pair's kind."""
    centres = mass_cells(random, pair)
    if marker.where == "membrane" and marker.amount > 0:
        hit = random.random(len(centres)) < marker.positive
        rims = np.full((int(hit.sum()), 2), 5.2) * random.uniform(0.9, 1.1, (int(hit.sum()), 2))
        brown = marker.amount * random.uniform(0.6, 1.2, len(rims))
        canvas.ellipses(canvas.chromogen, centres[hit], rims, random.uniform(0, 180, len(rims)), brown, 1.6)
    nuclei(canvas, random, centres, (4.3, 3.5), amount=0.7, marker=marker)


def thing(canvas: Canvas, random: Generator, item: Thing, marker: Marker) -> None:
    """The cells and stuff of an object."""
    {"Normal": _fat, "Necrosis": _necrosis, "Lymph": _lymph, "Acini": _acini, "Vessel": _vessel}[item.kind](
        canvas, random, item, marker
    )


def _fat(canvas: Canvas, random: Generator, item: Thing, marker: Marker) -> None:
    centres = scattered(random, item.shape.buffer(-14), 44.0, 0.12)
    sizes = random.uniform(20.5, 23.5, (len(centres), 2))
    turns = random.uniform(0, 180, len(centres))
    canvas.ellipses(canvas.matrix, centres, sizes, turns, np.zeros(len(centres)))
    canvas.ellipses(canvas.matrix, centres, sizes, turns, np.full(len(centres), 0.3), 1.6)
    around = centres + 24.0 * _unit_vectors(random, len(centres))
    nuclei(canvas, random, around, (3.5, 1.6))


def _necrosis(canvas: Canvas, random: Generator, item: Thing, marker: Marker) -> None:
    canvas.fill(canvas.matrix, item.shape, 0.42)
    smudge = scattered(random, item.shape.buffer(-6), 17.0, 0.5)
    axes = random.uniform(4, 11, (len(smudge), 2))
    canvas.ellipses(
        canvas.matrix, smudge, axes, random.uniform(0, 180, len(smudge)), random.uniform(0.2, 0.65, len(smudge))
    )
    debris = scattered(random, item.shape.buffer(-4), 8.0, 0.5)
    nuclei(canvas, random, debris[random.random(len(debris)) < 0.45], (1.3, 1.0), amount=0.8)


def _lymph(canvas: Canvas, random: Generator, item: Thing, marker: Marker) -> None:
    canvas.fill(canvas.matrix, item.shape, 0.2)
    nuclei(canvas, random, scattered(random, item.shape.buffer(-1), 6.3, 0.28), (2.8, 2.6), amount=1.05)


def _acini(canvas: Canvas, random: Generator, item: Thing, marker: Marker) -> None:
    for outline in item.parts:
        middle = outline.mean(0)
        canvas.fill(canvas.matrix, outline, 0.3)
        canvas.fill(canvas.matrix, middle + (outline - middle) * 0.3, 0.02)
        size = float(np.hypot(*(outline - middle).T).mean())
        for share, spacing in ((0.62, 7.5), (0.93, 11.0)):
            count = int(2 * np.pi * size * share / spacing)
            angle = (
                np.linspace(0, 2 * np.pi, count, endpoint=False) + random.uniform(0, 1) + random.normal(0, 0.05, count)
            )
            at = middle + size * share * np.stack([np.cos(angle), np.sin(angle)], 1)
            inner = share < 0.8
            nuclei(
                canvas, random, at, (3.6, 2.9) if inner else (3.6, 1.5), np.degrees(angle) + (0 if inner else 90),
                marker=marker if inner else None, fraction=0.4,
            )  # fmt: skip


def _vessel(canvas: Canvas, random: Generator, item: Thing, marker: Marker) -> None:
    canvas.fill(canvas.matrix, item.shape, 0.38)
    canvas.fill(canvas.matrix, item.parts[0], 0.0)
    for share, spacing in ((0.5, 13.0), (0.06, 10.0)):
        outline = np.asarray(item.shape.exterior.coords)[:-1] * (1 - share) + item.parts[0] * share
        along = outline[:: max(1, round(spacing * len(outline) / float(item.shape.length)))]
        middle = outline.mean(0)
        turns = np.degrees(np.arctan2(*(along - middle).T[::-1])) + 90
        nuclei(canvas, random, along, (5.0, 1.5), turns)
    lumen = polygon(item.parts[0]).buffer(-5)
    if not lumen.is_empty:
        blood = scattered(random, lumen, 8.5, 0.4)
        blood = blood[random.random(len(blood)) < random.uniform(0, 0.8)]
        canvas.ellipses(
            canvas.matrix,
            blood,
            np.full((len(blood), 2), 3.4),
            np.zeros(len(blood)),
            random.uniform(0.25, 0.4, len(blood)),
        )


def stroma(canvas: Canvas, random: Generator, where: BaseGeometry, angles: np.ndarray, cell_um: float) -> None:
    """Spindle nuclei along the fibres, and a few round ones. angles: radians on a grid of `cell_um`."""
    centres = scattered(random, where, 31.0, 0.48)
    grid = np.clip((centres / cell_um).astype(int), 0, np.array(angles.shape[::-1]) - 1)
    turns = np.degrees(angles[grid[:, 1], grid[:, 0]]) + random.normal(0, 14, len(centres))
    round_ = random.random(len(centres)) < 0.2
    nuclei(canvas, random, centres[~round_], (6.2, 1.5), turns[~round_], amount=0.65)
    nuclei(canvas, random, centres[round_], (2.8, 2.5), amount=0.85)


def _unit_vectors(random: Generator, count: int) -> Points:
    angle = random.uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], 1)
