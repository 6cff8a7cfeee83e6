"""Marker strokes of four inks over glass and over IHC are found; stains are not ink."""

import numpy as np
import pytest

from shards.audit.pen import find_pen
from shards.reader import SlideReader
from tests.shards.audit.pictures import INKS, glass, ihc, paint

MPP = 8.0


def tissue_picture() -> np.ndarray:
    """Real IHC at 8 µm/px, mirrored to 8×8 mm."""
    rgb = ihc().reshape(32, 16, 32, 16, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    return np.pad(rgb, ((0, 992), (0, 992), (0, 0)), mode="symmetric")


@pytest.mark.parametrize("ink", list(INKS))
@pytest.mark.parametrize("ground", ["glass", "tissue"])
def test_a_stroke_is_found_where_it_is(ink, ground):
    clean = glass(1024, 1024) if ground == "glass" else tissue_picture()
    picture, stroke = paint(clean, ink, 60, 6)  # 480 µm wide
    found = find_pen(picture, MPP)
    print(
        f"{ink} on {ground}: {found[stroke].mean():.3f} of the stroke, share {found.mean():.3f} of {stroke.mean():.3f}"
    )
    assert found[stroke].mean() > 0.95
    assert found.mean() < 2.2 * stroke.mean()


def test_stains_are_not_ink(phantoms):
    assert find_pen(tissue_picture(), MPP).mean() == 0
    for um_per_px in (0.5, 2.0, MPP):
        assert find_pen(ihc(), um_per_px).mean() == 0
    for path in phantoms:
        with SlideReader(path) as reader:
            for px in (300, 600):
                assert find_pen(reader.thumbnail(px), 2400 / px).mean() == 0, path.stem


def test_a_dot_of_ink_colour_is_no_stroke():
    picture = glass(500, 500)
    picture[100:104, 100:104] = (30, 120, 110)  # 32 µm
    assert not find_pen(picture, MPP).any()
