"""One physical transform for both views and labels; draws differ, and are the same when drawn again."""

import cv2
import numpy as np
import pytest

from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.config import IGNORED, PolicyConfig
from mlseg_dist.data.views import Views

MPP = {"high": 2.0, "low": 8.0}
SIZE, PATCH = 192, 128
LANDMARKS_UM = [(-60.0, -40.0), (50.0, 30.0), (20.0, -70.0)]  # from the common centre; both views show them
FULL = PolicyConfig(rescale=(0.8, 1.25), shift_um=24.0)


def painted():
    """Both views of the same physical scene: landmarks of three labels as dark discs on white."""
    arrays = {}
    for view, mpp in MPP.items():
        x, y = np.meshgrid(*[(np.arange(SIZE) + 0.5 - SIZE / 2) * mpp] * 2)
        image = np.full((SIZE, SIZE, 3), 255, np.uint8)
        label = np.full((SIZE, SIZE), IGNORED, np.uint8)
        for number, (lx, ly) in enumerate(LANDMARKS_UM):
            inside = (x - lx) ** 2 + (y - ly) ** 2 < 14**2
            image[inside, number] = 0
            label[inside] = number
        arrays |= {view: image, f"{view}_label": label}
    return Views(**arrays, high_fine=np.empty((0, 0), np.uint8))


def centroid_um(mask, mpp):
    rows, columns = np.nonzero(mask)
    return (columns.mean() + 0.5 - PATCH / 2) * mpp, (rows.mean() + 0.5 - PATCH / 2) * mpp


@pytest.mark.parametrize("draw", range(12))
def test_landmarks_stay_together_in_both_views_and_labels(draw):
    parameters = draw_parameters(FULL, 3, "base", draw)
    out = augment(painted(), parameters, MPP, PATCH)
    seen = 0
    for number in range(len(LANDMARKS_UM)):
        low = centroid_um(out.low_label == number, MPP["low"])
        image = centroid_um(out.low[..., number] < 128, MPP["low"])
        assert np.allclose(low, image, atol=MPP["low"])
        if max(map(abs, low)) < PATCH / 2 * MPP["high"] - 24:  # whole disc is in the high view too
            high = centroid_um(out.high_label == number, MPP["high"])
            assert np.allclose(high, centroid_um(out.high[..., number] < 128, MPP["high"]), atol=MPP["high"])
            assert np.allclose(high, low, atol=MPP["low"] / 2), "the same µm in both views"
            seen += 1
    assert seen, "at least one landmark is in both views"


def test_identity_is_the_centre_crop():
    policy = PolicyConfig(rotate=False, flip=False)
    views = painted()
    out = augment(views, draw_parameters(policy, 0, "base", 0), MPP, PATCH)
    edge = (SIZE - PATCH) // 2
    part = slice(edge, edge + PATCH)
    for name in ("high", "low", "high_label", "low_label"):
        assert np.array_equal(getattr(out, name), getattr(views, name)[part, part]), name


def test_labels_are_unlabelled_where_there_are_no_pixels():
    views = painted()
    views = Views(
        views.high, views.low, np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8), views.high_fine
    )
    zoomed_out = PolicyConfig(rotate=False, flip=False, rescale=(0.5, 0.5))
    out = augment(views, draw_parameters(zoomed_out, 0, "base", 0), MPP, PATCH)
    kept = round(SIZE * 0.5)
    assert (out.high_label == 0).sum() == pytest.approx(kept**2, rel=0.03) and out.high_label[0, 0] == IGNORED


def test_draws_are_pure_and_differ():
    a, b = (draw_parameters(FULL, 3, "base", i) for i in (0, 1))
    assert a == draw_parameters(FULL, 3, "base", 0) and a != b
    assert a != draw_parameters(FULL, 4, "base", 0) and a != draw_parameters(FULL, 3, "master-1", 0)


def test_one_colour_draw_for_both_views_and_labels_untouched():
    policy = PolicyConfig(rotate=False, flip=False, brightness=0.3, contrast=0.3, saturation=0.5, hue=0.4)
    flat = np.full((SIZE, SIZE, 3), (150, 90, 120), np.uint8)
    label = np.full((SIZE, SIZE), 1, np.uint8)
    out = augment(Views(flat, flat, label, label, label), draw_parameters(policy, 1, "m", 5), MPP, PATCH)
    assert np.array_equal(out.high, out.low) and not np.array_equal(out.high, flat[:PATCH, :PATCH])
    assert (out.high_label == 1).all()


def test_noise_is_the_same_when_drawn_again():
    policy = PolicyConfig(noise=10.0)
    outs = [augment(painted(), draw_parameters(policy, 1, "m", 5), MPP, PATCH).high for _ in range(2)]
    assert np.array_equal(*outs)
    assert cv2.absdiff(outs[0], augment(painted(), draw_parameters(policy, 1, "m", 6), MPP, PATCH).high).mean() > 1
