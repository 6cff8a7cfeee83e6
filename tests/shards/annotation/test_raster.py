"""The centre rule against an independent one: shapely's point in polygon on every pixel centre."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.annotation import raster
from shards.annotation.raster import Ring, window_of

SIZE = (40, 30)
steps = st.sampled_from([0.25, 0.5, 1.0, 1.37, 2.0])
corners = st.tuples(st.floats(-20, 20, allow_subnormal=False), st.floats(-20, 20, allow_subnormal=False))
numbers = st.one_of(st.floats(-30, 60, allow_subnormal=False), st.integers(-30, 60).map(float))
points = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=12)


def centres(corner, step, size=SIZE):
    x = corner[0] + (np.arange(size[0]) + 0.5) * step[0]
    y = corner[1] + (np.arange(size[1]) + 0.5) * step[1]
    return np.meshgrid(x, y)


def by_shapely(ring, corner, step, size=SIZE):
    """(inside, undecided): undecided where a centre lies on the border, as floats see it."""
    x, y = centres(corner, step, size)
    border = shapely.linestrings(np.concatenate([ring, ring[:1]]))
    near = shapely.distance(shapely.points(x, y), border) < 1e-9
    polygon = shapely.polygons(np.concatenate([ring, ring[:1]]))
    if shapely.make_valid(polygon).area == 0:  # a ring that runs back on itself: contains_xy takes it for something
        return np.zeros(x.shape, bool), near
    return shapely.contains_xy(polygon, x, y), near


@settings(max_examples=300, deadline=None)
@given(points, corners, steps, steps)
def test_every_pixel_as_shapely_has_it(ring, corner, step_x, step_y):
    """Self-crossing and degenerate rings too: even-odd."""
    ring, step = np.array(ring), (step_x, step_y)
    inside = Ring(ring).fill(corner, step, (0, 0, *SIZE)).astype(bool)
    expected, undecided = by_shapely(ring, corner, step)
    assert (inside == expected)[~undecided].all()
    window = window_of(Ring(ring).bounds, corner, step, SIZE)
    assert window is not None or not inside.any()
    if window is not None:
        x0, y0, x1, y1 = window
        assert inside.sum() == inside[y0:y1, x0:x1].sum(), "the window leaves nothing out"
        assert np.array_equal(Ring(ring).fill(corner, step, window), inside[y0:y1, x0:x1])


@pytest.mark.parametrize("vertices", [511, 512, 513, 5000])
def test_long_rings_and_small_batches(vertices, monkeypatch):
    random = np.random.default_rng(vertices)
    angles = np.sort(random.random(vertices)) * 2 * np.pi
    radii = random.uniform(8, 40, vertices)
    ring = np.stack([20 + radii * np.cos(angles), 15 + radii * np.sin(angles)], axis=1)
    expected, undecided = by_shapely(ring, (0, 0), (1, 1))
    for most in (1 << 22, 64, 1):
        monkeypatch.setattr(raster, "_MOST_CROSSINGS", most)
        inside = Ring(ring).fill((0, 0), (1, 1), (0, 0, *SIZE)).astype(bool)
        assert (inside == expected)[~undecided].all()
    part = Ring(ring).fill((0, 0), (1, 1), (7, 11, 19, 23)).astype(bool)
    assert np.array_equal(part, inside[11:23, 7:19]), "chunks that are skipped change nothing"


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0, 40, allow_subnormal=False),
    st.floats(0, 40, allow_subnormal=False),
    st.floats(0, 30, allow_subnormal=False),
    st.floats(0, 30, allow_subnormal=False),
    corners,
    steps,
)
def test_neighbours_share_no_pixel_and_leave_none_out(top, bottom, left, right, corner, step):
    """Four pieces of a rectangle cut by two lines at any slant, their common border written in both directions."""
    middle = [(20.0, 15.0)]
    a, b, c, d = (top, 0.0), (40.0, left), (bottom, 30.0), (0.0, right)
    pieces = [
        [a, (40.0, 0.0), b, *middle],
        [b, (40.0, 30.0), c, *middle],
        [*middle, c, (0.0, 30.0), d],
        [d, (0.0, 0.0), a, *middle],
    ]
    cover = sum(Ring(np.array(piece)).fill(corner, (step, step), (0, 0, *SIZE)) for piece in pieces)
    whole = Ring(np.array([(0.0, 0.0), (40.0, 0.0), (40.0, 30.0), (0.0, 30.0)])).fill(
        corner, (step, step), (0, 0, *SIZE)
    )
    assert np.array_equal(cover, whole)


def test_borders_belong_to_the_left_and_top():
    inside = Ring(np.array([(1.5, 1.5), (3.5, 1.5), (3.5, 3.5), (1.5, 3.5)])).fill((0, 0), (1, 1), (0, 0, 5, 5))
    expected = np.zeros((5, 5), np.uint8)
    expected[1:3, 1:3] = 1
    assert np.array_equal(inside, expected)


def test_far_away_vertices_stay_exact():
    ring = np.array([(-1e9, 10.0), (1e9, 10.0), (1e9, 20.0), (-1e9, 20.0)])
    inside = Ring(ring).fill((0, 0), (1, 1), (0, 0, *SIZE))
    assert inside[10:20].all() and inside.sum() == 10 * SIZE[0]
