"""Stitching is exact where it can be; a whole slide comes out where it went in; bad input is one clear line."""

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mlseg_dist.predict as predict
from mlseg_core.errors import UserError
from mlseg_dist.predict import Grid, Stitcher, block_mean, make_grid, predict_slide, wanted_centres
from tests.mlseg_dist.tiny_run import MPP, SIZE, SLIDES, KnowsColours, tiny_run
from tests.shards.slides_for_tests import tissue_slide, write_slide

sizes = st.floats(60, 20_000)


@given(sizes, sizes, st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([32, 64, 128, 512]))
@settings(max_examples=80, deadline=None)
def test_every_cell_lies_in_the_central_half_of_one_patch(width, height, mpp, patch_px):
    grid = make_grid((width, height), mpp, patch_px, most_cells=300)
    assert grid.shape[0] * grid.cell_um >= height and (grid.shape[0] - 1) * grid.cell_um < height
    assert grid.patch * grid.cell_px == patch_px and grid.patch % 4 == 0
    for axis in (0, 1):
        hit = np.zeros(grid.shape[axis], int)
        for centre in np.unique(grid.centres()[:, axis]):
            hit[max(0, centre - grid.step // 2) : centre + grid.step // 2] += 1
        assert (hit == 1).all()


def test_large_slides_get_coarser_cells():
    assert make_grid((50_000.0, 20_000.0), 0.5, 512).cell_px == 32
    assert make_grid((1000.0, 1000.0), 0.5, 512).cell_px == 1


def test_stitching_a_known_picture_gives_it_back_without_seams():
    """Patches cut from one smooth map, off the edges too, average to that map at every cell."""
    grid = Grid((50, 70), 16, 2, 1.0)
    random = np.random.default_rng(0)
    whole = random.random((3, 50 + 32, 70 + 32)).astype(np.float32)
    stitcher = Stitcher(grid)
    for row, column in grid.centres():
        patch = whole[:, row + 16 - 8 : row + 16 + 8, column + 16 - 8 : column + 16 + 8]
        stitcher.add((int(row), int(column)), patch.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_allclose(stitcher.mean(), whole[:, 16:66, 16:86], rtol=1e-5)


def test_disagreeing_patches_blend_and_the_nearer_middle_counts_more():
    grid = Grid((16, 32), 16, 1, 1.0)
    stitcher = Stitcher(grid)
    for row, column in grid.centres():
        value = float(column < 16)
        stitcher.add((int(row), int(column)), np.full((3, 16, 16), value, np.float32))
    line = stitcher.mean()[0, 8]
    assert (np.diff(line) <= 1e-6).all() and np.abs(np.diff(line)).max() < 0.25
    assert line[4] == pytest.approx(1, abs=0.01) and line[28] == pytest.approx(0, abs=0.01)


def test_cells_without_a_patch_stay_unknown():
    stitcher = Stitcher(Grid((32, 32), 8, 1, 1.0))
    stitcher.add((4, 4), np.full((3, 8, 8), 0.5, np.float32))
    mean = stitcher.mean()
    assert (mean[:, :8, :8] == 0.5).all() and np.isnan(mean[:, 8:]).all() and np.isnan(mean[:, :, 8:]).all()


def test_block_mean_is_the_mean_of_each_block():
    maps = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)
    assert block_mean(maps, 2)[1, 1, 2] == maps[1, 2:4, 4:6].mean() and block_mean(maps, 2).shape == (2, 2, 3)


def test_glass_is_not_predicted():
    grid = Grid((64, 64), 16, 1, 1.0)
    tissue = np.zeros(grid.shape, bool)
    tissue[40, 9] = True
    assert wanted_centres(grid, tissue).tolist() == [[44, 12]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("predict"))


def slide_of(run, number: int):
    return run.path.parent / "slides" / f"{SLIDES[number][0]}.tif"


def test_what_is_painted_comes_out_where_it_was_painted(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "load_teacher", lambda *_: KnowsColours())
    slide = slide_of(run, 2)
    summary = predict_slide(run.config, 1, run.path, slide, tmp_path / "out", MPP)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    image = tifffile.imread(slide)
    red, blue = image[..., 0] > 150, image[..., 2] > 150
    px_mm2 = (MPP / 1000) ** 2
    assert summary["areas_mm2"]["tumour"] == pytest.approx((red & ~blue).sum() * px_mm2, rel=0.02)
    assert summary["areas_mm2"]["others"] == pytest.approx((blue & ~red).sum() * px_mm2, rel=0.03)
    assert sum(summary["areas_mm2"].values()) == pytest.approx(summary["tissue_mm2"], abs=1e-5)
    with Image.open(tmp_path / "out" / "classes.png") as classes:
        assert classes.size == (SIZE, SIZE)
        shown = np.asarray(classes).astype(int)
    x, y = 40 + 12 * 2 + 100, 40 + 50
    assert shown[y, x, 0] > shown[y, x, 2] + 80  # in the tumour: red
    assert shown[y + 150, x, 2] > shown[y + 150, x, 0] + 80  # in the dcis: blue
    with Image.open(tmp_path / "out" / "heatmap.png") as heat:
        assert min(heat.size) > 400


@pytest.mark.parametrize("step", [0, 1])
def test_a_real_network_of_either_kind_predicts_a_slide(run, tmp_path, step, capsys):
    summary = predict_slide(run.config, step, run.path, slide_of(run, 1), tmp_path, MPP)
    assert summary["step"] == ("base", "master-1")[step] and summary["patches"] > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.png", "heatmap.png", "summary.json"]
    assert f"{summary['patches']}/{summary['patches']} patches" in capsys.readouterr().out


def test_bad_input_is_named_and_leaves_nothing(run, tmp_path):
    out = tmp_path / "out"
    slide = slide_of(run, 0)
    with pytest.raises(UserError, match=r"µm/px.*--mpp"):
        predict_slide(run.config, 0, run.path, slide, out)
    with pytest.raises(UserError, match="no such slide"):
        predict_slide(run.config, 0, run.path, tmp_path / "none.svs", out)
    with pytest.raises(UserError, match="sensible"):
        predict_slide(run.config, 0, run.path, slide, out, -1.0)
    with pytest.raises(UserError, match=r"network wants 2"):
        predict_slide(run.config, 0, run.path, slide, out, 9.0)
    write_slide(tmp_path / "says-1.tif", tissue_slide(0), mpp=1.0)
    with pytest.raises(UserError, match=r"2 µm/px was given, but the file states 1 µm/px.*--mpp-override"):
        predict_slide(run.config, 0, run.path, tmp_path / "says-1.tif", out, 2.0)
    with pytest.raises(UserError, match=r"has 9 µm/px and the network wants 2"):
        predict_slide(run.config, 0, run.path, tmp_path / "says-1.tif", out, 9.0, override=True)
    (tmp_path / "broken.svs").write_bytes(b"not a slide")
    with pytest.raises(UserError, match="cannot be opened"):
        predict_slide(run.config, 0, run.path, tmp_path / "broken.svs", out)
    tifffile.imwrite(tmp_path / "glass.tif", np.full((256, 256, 3), 240, np.uint8), tile=(256, 256), photometric="rgb")
    with pytest.raises(UserError, match="no tissue"):
        predict_slide(run.config, 0, run.path, tmp_path / "glass.tif", out, MPP)
    assert not out.exists()
