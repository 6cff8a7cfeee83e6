"""Tissue against glass: every phantom's stain, thin strands, cropped regions without glass, padding, empty slides."""

import cv2
import numpy as np
import pytest

from shards.audit.config import TissueConfig
from shards.audit.tissue import TissueMask, find_tissue
from shards.reader import SlideReader
from tests.shards.audit.pictures import glass, ihc, open_picture, paint, phantom_tissue

BOTH = pytest.mark.parametrize("method", ["glass", "saturation"])


def test_phantoms_of_every_stain_are_found_to_the_pixel(phantoms):
    assert len(phantoms) == 6
    for path in phantoms:
        with SlideReader(path) as reader:
            tissue = find_tissue(reader)
        truth = phantom_tissue(path, tissue.mask.shape)
        iou = (tissue.mask & truth).sum() / (tissue.mask | truth).sum()
        print(f"{path.stem}: IoU {iou:.3f}")
        assert iou > 0.98


def test_points_off_the_slide_are_not_tissue(phantoms):
    with SlideReader(phantoms[0]) as reader:
        tissue = find_tissue(reader)
        width, height = reader.size
    found = tissue.at(np.array([width / 2, -1.0, width + 1.0]), np.array([height / 2, 5.0, height / 2]))
    assert found.tolist() == [True, False, False]


def test_saturation_finds_he_phantoms(phantoms):
    path = next(p for p in phantoms if p.stem.endswith("HE"))
    with SlideReader(path) as reader:
        tissue = find_tissue(reader, TissueConfig(method="saturation"))
    truth = phantom_tissue(path, tissue.mask.shape)
    assert (tissue.mask & truth).sum() / (tissue.mask | truth).sum() > 0.9


@pytest.mark.parametrize(("width_um", "least"), [(12, 0.6), (16, 0.85), (32, 0.95)])
def test_thin_pale_strands_stay_and_do_not_join(tmp_path, width_um, least):
    """Strands half as dense as stroma, 80 µm apart, at 8 µm/px."""
    side = 2400
    strands = np.zeros((side, side), np.uint8)
    for y in range(300, 2100, 80 + width_um):
        cv2.line(strands, (300, y), (2100, y), 1, width_um)
    picture = np.where(strands[..., None] > 0, (205, 190, 205), glass(side, side)).astype(np.uint8)
    with open_picture(tmp_path / "strands.tif", picture, 1.0) as reader:
        found = cv2.resize(find_tissue(reader).mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    gaps = cv2.dilate(strands, np.ones((33, 33), np.uint8)) == 0
    print(f"{width_um} µm: recall {found[strands > 0].mean():.3f}, gaps {found[gaps].mean():.4f}")
    assert found[strands > 0].mean() > least
    assert found[gaps].mean() < 0.01


@BOTH
def test_a_region_without_glass_is_all_tissue(tmp_path, phantoms, method):
    regions = {"ihc": ihc()[:220, :200]}
    for path in phantoms:
        with SlideReader(path) as reader:
            regions[path.stem] = reader.read((1200 / reader.mpp[0], 1200 / reader.mpp[1]), 1.5, 700)[0]
    for name, region in regions.items():
        with open_picture(tmp_path / f"{name}.tif", region, 1.5) as reader:
            share = find_tissue(reader, TissueConfig(method=method)).mask.mean()
        print(f"{name}: {share:.3f}")
        assert share > 0.9, name


@BOTH
@pytest.mark.parametrize("level", [225.0, 242.0, 252.0])
def test_empty_glass_has_no_tissue(tmp_path, method, level):
    shade = np.linspace(0, 6, 1500)[None, :, None]  # uneven light
    with open_picture(tmp_path / "empty.tif", (glass(1000, 1500, level=level) - shade).astype(np.uint8), 2.0) as reader:
        assert find_tissue(reader, TissueConfig(method=method)).mask.mean() < 0.001


def test_what_was_never_scanned_is_neither_tissue_nor_glass(tmp_path):
    """White padding is brighter than glass and black padding darker than any tissue."""
    picture = glass(1200, 1200, level=236.0)
    picture[300:900, 300:900] = ihc()[:300, :300].repeat(2, axis=0).repeat(2, axis=1)
    picture[:, :150] = 255
    picture[1050:] = 0
    with open_picture(tmp_path / "padded.tif", picture, 2.0) as reader:
        tissue = find_tissue(reader)
    points = np.array([[75, 600], [600, 1100], [200, 200], [600, 600]], float)  # white, black, glass, tissue
    assert tissue.at(points[:, 0], points[:, 1]).tolist() == [False, False, False, True]
    assert 0.17 < tissue.mask.mean() < 0.27


def test_pen_is_not_tissue(tmp_path):
    picture, stroke = paint(glass(1500, 1500), "green", 100, 10)
    with open_picture(tmp_path / "pen.tif", picture, 4.0) as reader:
        tissue = find_tissue(reader)
    assert stroke.mean() > 0.05
    assert tissue.mask.mean() < 0.002


def test_the_mask_is_bounded_and_covers_the_slide(tmp_path):
    with open_picture(tmp_path / "long.tif", glass(300, 5000), 10.0) as reader:  # 50 mm: 6250 px at 8 µm/px
        tissue = find_tissue(reader)
    assert isinstance(tissue, TissueMask)
    assert tissue.mask.shape == (246, 4096)
    assert tissue.scale == (5000 / 4096, 300 / 246)
