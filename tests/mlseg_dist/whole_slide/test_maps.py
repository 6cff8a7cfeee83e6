"""Maps on disk say what the strips said, at every level of their pyramids."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from mlseg_dist.whole_slide.ome_pyramid import OmePyramid
from mlseg_dist.whole_slide.writing import CLASS_MAP, PROBABILITY_MAP, MapFiles, write_maps
from tests.mlseg_dist.whole_slide.slides import everything, knows_colours, whole
from tests.mlseg_dist.whole_slide.test_strips import slide_of


def soft(high, low):
    """knows_colours, less sure of itself."""
    return 0.7 * knows_colours(high, low) + 0.1


@pytest.mark.parametrize("cell_px", [1, 4])
def test_maps_on_disk_say_what_the_strips_said(run, tmp_path, cell_px):
    classes, probabilities = tmp_path / "maps" / "classes.tif", tmp_path / "maps" / "probabilities.tif"
    classes.parent.mkdir()
    with whole(slide_of(run), soft, cell_px=cell_px) as engine:
        counts = write_maps(engine.strips(), engine.grid, 0.45, classes, probabilities)
    with whole(slide_of(run), soft, cell_px=cell_px) as engine:
        wanted, _, _ = everything(engine.strips())
    shown = tifffile.imread(probabilities)
    assert shown.shape == (3, *engine.grid.size) and shown.dtype == np.uint8
    assert np.abs(shown / 255 - wanted).max() <= 0.5 / 255 + 1e-6
    decided = np.where(wanted.max(axis=0) >= 0.45, wanted.argmax(axis=0), 0)
    found = tifffile.imread(classes)
    assert (found == decided).all()
    assert list(counts.classes.values()) == np.bincount(decided.ravel(), minlength=3).tolist()
    assert counts.region == decided.size and counts.unanswered == 0
    with tifffile.TiffFile(classes) as tiff:
        numerator, denominator = tiff.pages[0].tags["XResolution"].value
        assert 1e4 * denominator / numerator == pytest.approx(engine.grid.cell_um) and tiff.pages[0].is_tiled
    assert sorted(path.name for path in classes.parent.iterdir()) == ["classes.tif", "probabilities.tif"]


def test_a_map_that_cannot_be_finished_leaves_no_trace_and_no_thread(run, tmp_path):
    class Broken(Exception):
        pass

    def breaks(strips):
        yield next(strips)
        raise Broken

    with whole(slide_of(run), soft) as engine, pytest.raises(Broken):
        write_maps(breaks(engine.strips()), engine.grid, 0.45, tmp_path / "c.tif", tmp_path / "p.tif")
    assert not list(tmp_path.iterdir())
    with whole(slide_of(run), soft) as engine, pytest.raises(OSError, match="No such file"):
        write_maps(engine.strips(), engine.grid, 0.45, tmp_path / "c.tif", tmp_path / "nowhere" / "p.tif")
    assert not list(tmp_path.iterdir())
    full = Path("/dev/full")
    with whole(slide_of(run), soft) as engine, pytest.raises(OSError), MapFiles(engine.grid, 0.45, full, None) as files:
        for strip in engine.strips():
            files.add(strip)


def test_levels_of_a_pyramid_are_halves_of_the_level_before(tmp_path):
    random = np.random.default_rng(1)
    classes = random.integers(0, 3, (1301, 2277, 1)).astype(np.uint8)
    levels = random.integers(0, 256, (1301, 2277, 3)).astype(np.uint8)
    for content, rows, name in ((CLASS_MAP, classes, "c"), (PROBABILITY_MAP, levels, "p")):
        for path in (tmp_path / f"{name}.ome.tif", tmp_path / f"{name}-again.ome.tif"):
            pyramid = OmePyramid(path, rows.shape[:2], 0.5, content)
            for top in range(0, len(rows), 173):
                pyramid.add(rows[top : top + 173])
            pyramid.finish()
        assert path.read_bytes() == (tmp_path / f"{name}.ome.tif").read_bytes()
        with tifffile.TiffFile(path) as tiff:
            found = [level.asarray() for level in tiff.series[0].levels]
        assert [one.shape[-2:] for one in found] == [(1301, 2277), (651, 1139), (326, 570), (163, 285)]
        wanted = rows
        for one in found:
            assert (np.atleast_3d(one.T).transpose(1, 0, 2) == wanted).all()
            even = np.pad(wanted, ((0, wanted.shape[0] % 2), (0, wanted.shape[1] % 2), (0, 0)), mode="edge")
            wanted = content.shrink(even)
        assert pyramid.overview.shape[:2] == (651, 1139)
