"""Draw one slide: a unit of work in, NAME.tif (a tiled pyramid, generic-tiff to OpenSlide) and NAME.geojson out.

A pure function of the unit: the same picture gives the same bytes.
"""

from pathlib import Path

import cv2
import numpy as np
import shapely
import tifffile
from numpy.random import Generator

from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_core.randomness import generator
from shards.phantom import artefact, cells
from shards.phantom.annotation import annotated, whole_truth
from shards.phantom.canvas import UNIT, Canvas
from shards.phantom.catalog import LABS, STAINS
from shards.phantom.layout import Layout, plan
from shards.phantom.lookalike import BAND_UM
from shards.phantom.stain import scan, transmitted, vectors
from shards.phantom.table import Specimen
from shards.phantom.texture import directions, fibres, smooth_noise

COARSE = 2
"""Stroma is painted at this many level-0 pixels per pixel: it holds nothing finer."""
STROMA_OD = 0.16
BAND_OD = 0.62


def draw(unit: Unit, scratch: Scratch) -> None:
    """Write the slide and its annotation."""
    specimen = Specimen(**unit.payload)
    layout = plan(specimen)
    picture = render(specimen, layout)
    write_pyramid(scratch.file(f"{specimen.name}.tif"), picture, specimen.mpp, specimen.jpeg_quality)
    scratch.file(f"{specimen.name}.geojson").write_text(annotated(specimen, layout), encoding="utf-8")
    if specimen.truth:
        scratch.file(f"{specimen.name}.truth.geojson").write_text(whole_truth(specimen, layout), encoding="utf-8")


def render(specimen: Specimen, layout: Layout) -> np.ndarray:
    """The slide's level 0, rows×columns×3 uint8 RGB."""
    return render_with_dyes(specimen, layout)[0]


def render_with_dyes(specimen: Specimen, layout: Layout) -> tuple[np.ndarray, Canvas]:
    """The slide's level 0 and the dyes that it shows, pixel by pixel; bubbles and blur lie on the picture only."""

    def random(part: str) -> Generator:
        return generator(specimen.seed, "phantom", specimen.layout_name, "draw", part)

    canvas = Canvas.blank(specimen.size_um, specimen.mpp)
    angles = _ground(canvas, random("ground"), layout, specimen.cuff_contrast)
    marker = cells.Marker(STAINS[specimen.stain].where, specimen.positive, specimen.intensity)
    occupied = shapely.union_all([p.mass for p in layout.pairs] + [t.shape for t in layout.things])
    cells.stroma(canvas, random("stroma"), layout.tissue.difference(occupied), angles, COARSE * specimen.mpp)
    objects = random("objects")
    for item in layout.things:
        cells.thing(canvas, objects, item, marker)
    masses = random("masses")
    for pair in layout.pairs:
        cells.mass(canvas, masses, pair, marker)
    mishaps = random("artefacts")
    thickness = _thickness(random("thickness"), canvas.shape, specimen.mpp)
    for item in layout.artefacts:
        if item.kind == "Fold":
            artefact.fold(canvas, thickness, mishaps, item)
    lab = LABS[specimen.source]
    if lab.haze:
        _leave_dye(canvas, random("haze"), lab.haze)
    grain = _grain(random("grain"), lab.grain)
    picture = transmitted(canvas, vectors(specimen.stain, specimen.source), grain, thickness)
    for item in layout.artefacts:
        if item.kind == "Bubble":
            artefact.bubble(picture, canvas, mishaps, item)
        elif item.kind == "Blur":
            artefact.blur(picture, canvas, mishaps, item)
    return scan(random("scanner"), picture, specimen.scanner, specimen.mpp), canvas


def _ground(canvas: Canvas, random: Generator, layout: Layout, cuff_contrast: float) -> np.ndarray:
    """Stroma, bands and the cytoplasm of masses on the matrix layer. Returns the fibres' angles on the coarse grid."""
    rows, columns = canvas.shape
    coarse = Canvas.blank(layout.size_um, canvas.mpp * COARSE)
    shape = coarse.shape
    px = coarse.mpp
    angles = directions(random, shape, 260 / px)
    streaks = fibres(random, angles, round(90 / px), 1.6 / px + 0.5)
    amount = STROMA_OD * (1 + 0.22 * smooth_noise(random, shape, 160 / px)) * (1 + 0.3 * streaks)
    band, mass, tissue = (np.zeros(shape, np.uint8) for _ in range(3))
    for pair in layout.pairs:
        for line in pair.band:
            coarse.stroke(band, line, BAND_UM, 2.55, pair.closed)
        coarse.fill(mass, pair.mass, 2.55)
    coarse.fill(tissue, layout.tissue, 2.55)
    share = cv2.GaussianBlur(band, (0, 0), 3 / px).astype(np.float32) / 255
    amount += share * (BAND_OD * cuff_contrast * (1 + 0.16 * streaks) - amount)
    share = cv2.GaussianBlur(mass, (0, 0), 1.5 / px).astype(np.float32) / 255
    amount += share * (0.27 - amount)
    amount = np.maximum(amount, 0.02) * (tissue.astype(np.float32) / 255)
    canvas.matrix[:] = cv2.resize(
        cv2.convertScaleAbs(amount, alpha=UNIT), (columns, rows), interpolation=cv2.INTER_LINEAR
    )
    return angles


def _thickness(random: Generator, shape: tuple[int, int], mpp: float) -> np.ndarray:
    """Sections are never even: a few percent over hundreds of µm."""
    small = smooth_noise(random, (shape[0] // 16, shape[1] // 16), 700 / mpp / 16)
    return cv2.resize(np.clip(1 + 0.08 * small, 0.75, 1.25), (shape[1], shape[0]))


def _grain(random: Generator, strength: float) -> np.ndarray:
    """Fine texture of dye (chromatin clumps, granules), a 512 px tile with mean 1. strength: relative to the usual."""
    tile = smooth_noise(random, (512, 512), 2.2) * 0.14 + smooth_noise(random, (512, 512), 1.0) * 0.06
    return np.clip(1 + strength * tile, 0.5, 1.6)


def _leave_dye(canvas: Canvas, random: Generator, haze: float) -> None:
    """Dye that was not washed off lies in clouds over tissue and glass. haze: its mean optical density."""
    rows, columns = canvas.shape
    small = np.clip(
        haze * (1 + 0.8 * smooth_noise(random, (rows // 16, columns // 16), 500 / canvas.mpp / 16)), 0, None
    )
    clouds = cv2.resize(cv2.convertScaleAbs(small, alpha=UNIT), (columns, rows), interpolation=cv2.INTER_LINEAR)
    canvas.matrix[:] = cv2.add(canvas.matrix, clouds)


LEVELS = 4
TILE_PX = 256


def write_pyramid(path: Path, picture: np.ndarray, mpp: float, quality: int) -> None:
    """picture: rows×columns×3 uint8 RGB at `mpp` µm/px. Each level halves the one before."""
    with tifffile.TiffWriter(path) as writer:
        for level in range(LEVELS):
            if level:
                picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            writer.write(
                picture,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",  # of the array; subsampling given, tifffile stores YCbCr
                subsampling=(1, 1),
                compression="jpeg",
                compressionargs={"level": quality},
                resolution=(1e4 / (mpp * 2**level), 1e4 / (mpp * 2**level)),
                resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0,
                software="mlseg phantom",
                metadata=None,
                maxworkers=1,
            )
