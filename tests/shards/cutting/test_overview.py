"""Pictures for the page: small, of the slide's shape, tissue white."""

import cv2
import numpy as np

from shards.audit.tissue import TissueMask, find_tissue
from shards.cutting.overview import mask_png
from shards.sample import decode_label
from tests.shards.audit.pictures import glass, ihc, open_picture


def test_thumbnail_and_mask_show_the_same_slide(tmp_path):
    picture = glass(1200, 3000)
    picture[300:812, 1000:1512] = ihc()
    with open_picture(tmp_path / "slide.tif", picture, 4.0) as reader:
        tissue = find_tissue(reader)
        thumbnail, mask = reader.overview.rgb, decode_label(mask_png(tissue))
    assert thumbnail.shape[:2] == mask.shape == (410, 1024)
    assert set(np.unique(mask)) == {0, 255}
    dark = cv2.blur(thumbnail, (5, 5)).min(axis=2) < 215
    assert (dark == (mask > 0)).mean() > 0.97


def test_a_small_mask_is_not_enlarged():
    assert decode_label(mask_png(TissueMask(np.eye(7, dtype=bool), (10.0, 10.0)))).shape == (7, 7)
