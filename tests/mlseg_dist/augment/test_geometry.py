"""One physical transform: landmarks are found in both views and both labels where the drawn numbers say."""

import math

import numpy as np
import pytest
from scipy import ndimage

from mlseg_dist.augment import Parameters, augment, draw_parameters, transform
from mlseg_dist.augment.parameters import Elastic, GridDistortion, OpticalDistortion
from mlseg_dist.config import IGNORED
from tests.mlseg_dist.augment.scene import (
    DISTORTIONS,
    GEOMETRY,
    MARGIN_UM,
    MPP,
    PATCH,
    RADIUS_UM,
    STORED,
    centroid_um,
    landmarks_um,
    painted,
    photographs,
    policy,
)

SCENE = painted()


def by_hand(p: Parameters, point: tuple[float, float]) -> np.ndarray:
    """Where an op alone puts a point, written down anew for each op."""
    x, y = point
    if p.rotate is not None:
        cos, sin = math.cos(-p.rotate), math.sin(-p.rotate)
        return np.array([cos * x - sin * y, sin * x + cos * y])
    if p.flip is not None:
        return np.array([-x if p.flip[0] else x, -y if p.flip[1] else y])
    if p.crop is not None:
        return np.array([x - p.crop[0] * 64, y - p.crop[1] * 64])
    if p.rescale is not None:
        return np.array([x * p.rescale, y * p.rescale])
    if p.shift is not None:
        return np.array([x + p.shift[0], y + p.shift[1]])
    if p.xy_jitter is not None:
        return np.array([x - p.xy_jitter[0], y - p.xy_jitter[1]])
    if p.shear is not None:
        y = y - p.shear[1] * x
        # stored = (1, 0; b, 1)(1, a; 0, 1) patch: undo the second factor last
        return np.array([x - p.shear[0] * y, y])
    if p.optical_distortion is not None:
        r, k, radius = math.hypot(x, y), p.optical_distortion.k, p.optical_distortion.radius_um
        roots = np.roots([k / radius**2, 0, 1, -r]) if r else np.zeros(1)
        return np.array(point) / (r or 1) * min(roots[np.abs(roots.imag) < 1e-9].real, key=lambda root: abs(root - r))
    raise AssertionError


def check(p: Parameters, where=None) -> int:
    """Every disc that is whole in a view: its dark pixels and its label lie within a pixel of where(p, point); without
    `where`, of the pixels that the drawn map, taken at every pixel, sends into it. Returns how many were in both views.
    """
    out = augment(SCENE, p, MPP, PATCH)
    seen = {"high": set(), "low": set()}
    for view, mpp in MPP.items():
        at = (np.arange(PATCH) - (PATCH - 1) / 2) * mpp
        stored = transform.stored_um(p, at, at, MARGIN_UM)
        image, label = 255.0 - getattr(out, view)[..., 0], getattr(out, f"{view}_label")
        for number in np.unique(getattr(SCENE, f"{view}_label"))[1:]:
            point = landmarks_um()[number]
            near = np.hypot(*(stored - point).transpose(2, 0, 1)) <= RADIUS_UM[view] + 2 * mpp
            if near.sum() < 9 or near[[0, -1]].any() or near[:, [0, -1]].any():
                continue
            inside = near & (np.hypot(*(stored - point).transpose(2, 0, 1)) <= RADIUS_UM[view])
            expected = centroid_um(inside.astype(float), mpp) if where is None else where(p, point)
            assert np.abs(centroid_um(image * near, mpp) - expected).max() <= mpp, (view, number)
            assert np.abs(centroid_um((label == number).astype(float), mpp) - expected).max() <= mpp, (view, number)
            assert not ((label == number) & ~near).any()
            seen[view].add(number)
    return len(seen["high"] & seen["low"])


@pytest.mark.parametrize("name", [name for name in GEOMETRY if name not in ("elastic", "grid_distortion")])
@pytest.mark.parametrize("draw", range(3))
def test_an_op_alone_puts_landmarks_where_its_numbers_say(name, draw):
    p = draw_parameters(policy(name), 3, "base", draw)
    assert check(p, by_hand) >= 4, "discs in both views were compared"


@pytest.mark.parametrize("ops", [(name,) for name in DISTORTIONS] + [DISTORTIONS, GEOMETRY], ids="+".join)
@pytest.mark.parametrize("draw", range(4))
def test_distortions_and_all_ops_together_put_landmarks_where_the_transform_says(ops, draw):
    p = draw_parameters(policy(*ops), 11, "base", draw)
    assert check(p) >= 4


def test_elastic_is_the_cubic_spline_of_its_control_points():
    elastic = Elastic(cell_um=50.0, sigma_um=5.0, seed=9)
    x, y = np.linspace(-400, 400, 41), np.linspace(-300, 300, 23)
    moved = transform.displacement_um(Parameters(elastic=elastic), x, y)
    points = np.random.Generator(np.random.Philox(key=9)).standard_normal((64, 64, 2)) * 5.0 / (151 / 315)
    rows, columns = np.meshgrid(y / 50 + 32, x / 50 + 32, indexing="ij")
    for axis in (0, 1):
        reference = ndimage.map_coordinates(
            points[..., axis], [rows, columns], order=3, mode="grid-wrap", prefilter=False
        )
        assert np.allclose(moved[..., axis], reference, atol=1e-6)
    many = [transform.displacement_um(Parameters(elastic=Elastic(50.0, 5.0, seed)), x, y) for seed in range(20)]
    assert np.sqrt(np.mean(np.square(many))) == pytest.approx(5.0, rel=0.05)


def test_grid_distortion_moves_lines_within_its_reach_and_is_linear_between():
    grid = GridDistortion(cell_um=64.0, reach_um=10.0, seed=4)
    lines, between = np.arange(-5, 6) * 64.0, np.arange(-5, 5) * 64.0 + 16
    at_lines = transform.displacement_um(Parameters(grid_distortion=grid), lines, lines)
    inside = transform.displacement_um(Parameters(grid_distortion=grid), between, lines)
    assert np.abs(at_lines).max() <= 10 and np.ptp(at_lines[0, :, 0]) > 1 and np.ptp(at_lines[:, 0, 1]) > 1
    assert np.allclose(inside[0, :, 0], 0.75 * at_lines[0, :-1, 0] + 0.25 * at_lines[0, 1:, 0])
    assert np.allclose(at_lines[:, 0, 0], at_lines[0, 0, 0]), "x moves with x alone"


def test_nothing_folds_over_at_the_strongest_allowed_distortion():
    ops = policy(
        {"op": "elastic", "cell_um": [40.0, 40.0], "sigma_um": [8.0, 8.0]},
        {"op": "optical_distortion", "k": [-0.16, -0.16]},
    )
    x = np.linspace(-500, 500, 126)
    folded = 0.0
    for draw in range(30):
        for op in ops:
            at = x + np.zeros((len(x), 1))
            moved = transform.displacement_um(draw_parameters((op,), 1, "m", draw), x, x) + np.stack([at, at.T], -1)
            dx, dy = np.gradient(moved, x, x, axis=(1, 0))
            folded += (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0] <= 0).mean() / 60
    assert folded < 1e-3


@pytest.mark.parametrize("views", [SCENE, photographs()], ids=["painted", "photographs"])
def test_no_op_is_the_centre_crop_bit_for_bit(views):
    out = augment(views, draw_parameters((), 0, "base", 0), MPP, PATCH)
    part = slice((STORED - PATCH) // 2, (STORED + PATCH) // 2)
    for name in ("high", "low", "high_label", "low_label"):
        assert np.array_equal(getattr(out, name), getattr(views, name)[part, part]), name


def test_a_distortion_of_nothing_is_the_centre_crop_too():
    p = Parameters(elastic=Elastic(50.0, 0.0, 1), optical_distortion=OpticalDistortion(0.0, 512.0))
    views = photographs()
    out = augment(views, p, MPP, PATCH)
    part = slice((STORED - PATCH) // 2, (STORED + PATCH) // 2)
    assert np.array_equal(out.high, views.high[part, part]) and np.array_equal(
        out.low_label, views.low_label[part, part]
    )


@pytest.mark.parametrize("ops", [("rotate",), DISTORTIONS], ids="+".join)
def test_labels_are_unlabelled_exactly_where_there_are_no_pixels(ops):
    views = painted()
    away = policy(*ops, {"op": "rescale", "zoom": [0.5, 0.5]}, {"op": "xy_jitter", "um": [30.0, 90.0]})
    for draw in range(3):
        p = draw_parameters(away, 5, "base", draw)
        out = augment(views, p, MPP, PATCH)
        for view, mpp in MPP.items():
            at = (np.arange(PATCH) - (PATCH - 1) / 2) * mpp
            beyond = np.abs(transform.stored_um(p, at, at, MARGIN_UM)).max(-1) / mpp - STORED / 2
            empty = getattr(out, f"{view}_label") == IGNORED
            sure = np.abs(beyond) > 0.6  # nearest-neighbour and 1/32 px of the map
            assert np.array_equal(empty[sure], (beyond > 0)[sure])
            assert view == "low" or empty.any()


def test_crop_and_rotate_of_table_8_never_leave_the_stored_field():
    ops = policy("rotate", {"op": "crop", "margin": 0.15}, {"op": "rescale", "zoom": [1.0, 1.05]})
    corners = np.array([-255.5, 255.5]) * 0.5
    for draw in range(300):
        p = draw_parameters(ops, 2, "base", draw)
        assert np.abs(transform.stored_um(p, corners, corners, 64.0)).max() <= 384 * 0.5
