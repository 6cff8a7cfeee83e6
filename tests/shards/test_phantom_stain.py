"""Stains of phantom slides, measured in optical density: chromogen in nuclei (ER) or on membranes (HER2), scanners apart."""

import numpy as np
import pytest
import shapely

from mlseg_core.randomness import generator
from shards.phantom import cells
from shards.phantom.canvas import Canvas
from shards.phantom.catalog import DAB, HAEMATOXYLIN, LABS, SEEN, STAINS
from shards.phantom.lookalike import LookalikePair
from shards.phantom.stain import scan, transmitted, vectors

MASS = LookalikePair("Tumor", (150.0, 150.0), 100.0, shapely.Point(150, 150).buffer(100), [], False)


def painted(stain: str, positive: float, amount: float, pair: LookalikePair = MASS) -> Canvas:
    canvas = Canvas.blank(300, 0.5)
    cells.mass(canvas, generator(5, "mass"), pair, cells.Marker(STAINS[stain].where, positive, amount))
    return canvas


def light(canvas: Canvas, stain: str, lab: str = "DS1") -> np.ndarray:
    even = np.ones(canvas.shape, np.float32)
    return transmitted(canvas, vectors(stain, lab), np.ones((64, 64), np.float32), even)


def dab(picture: np.ndarray) -> np.ndarray:
    """DAB amount by unmixing with the published vectors (Ruifrok & Johnston)."""
    density = -np.log10(np.maximum(picture, 1) / 255.0)
    columns = np.stack([v / np.linalg.norm(v) for v in (np.array(HAEMATOXYLIN), np.array(DAB))], 1)
    return (density @ np.linalg.pinv(columns).T)[..., 1]


def at(amount: np.ndarray, radius_um: float) -> float:
    """Median amount on circles round the cells of the mass."""
    centres = cells.mass_cells(generator(5, "mass"), MASS)
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = centres[:, None] + radius_um * np.stack([np.cos(angle), np.sin(angle)], 1)
    columns, rows = np.round(points / 0.5 - 0.5).astype(int).reshape(-1, 2).T
    return float(np.median(amount[rows, columns]))


def test_er_marks_nuclei_and_her2_membranes():
    er = dab(light(painted("ER", 1.0, 1.0), "ER"))
    her2 = dab(light(painted("HER2", 1.0, 1.0), "HER2"))
    assert at(er, 1.0) > 0.4 > 0.25 > at(er, 5.2)
    assert at(her2, 5.2) > 0.4 > 0.25 > at(her2, 1.0)


@pytest.mark.parametrize("stain", ["ER", "HER2"])
def test_a_negative_mass_holds_no_chromogen(stain):
    assert not painted(stain, 0.0, 0.0).chromogen.any()
    assert dab(light(painted(stain, 0.0, 0.0), stain)).max() < 0.15


@pytest.mark.parametrize("stain", ["ER", "HER2", "H&E"])
def test_cells_of_a_mass_do_not_depend_on_its_kind(stain):
    twin = LookalikePair("DCIS", MASS.centre, MASS.radius, MASS.mass, MASS.band, True)
    one, other = painted(stain, 0.5, 0.8), painted(stain, 0.5, 0.8, twin)
    for layer in ("counterstain", "chromogen", "matrix"):
        assert np.array_equal(getattr(one, layer), getattr(other, layer))


def test_light_follows_beer_lambert():
    canvas = Canvas.blank(64, 1.0)
    canvas.counterstain[:] = 60
    canvas.matrix[:] = 25
    expected = 255 * 10 ** -(vectors("ER", "DS3") @ np.array([0.6, 0.0, 0.25]))
    assert np.abs(light(canvas, "ER", "DS3")[5, 5] - expected).max() <= 1


def test_every_lab_and_scanner_gives_its_own_colour():
    picture = light(painted("ER", 0.5, 0.9), "ER")
    labs = [name for name in LABS if name.startswith("DS")]  # the others differ by grain and by dye on the glass too
    scanners = [*SEEN["scanner"], "Motic", "Aperio"]
    by_lab = [light(painted("ER", 0.5, 0.9), "ER", lab)[200:400, 200:400].mean((0, 1)) for lab in labs]
    by_scanner = [scan(generator(1), picture, name, 0.5).mean((0, 1)) for name in scanners]
    for means in (by_lab, by_scanner):
        apart = np.abs(np.array(means)[:, None] - np.array(means)[None]).max(-1)
        assert apart[~np.eye(len(means), dtype=bool)].min() > 1.0
