"""The engine: every cell comes once, from the right place, the same with any number of threads; what has no answer is marked."""

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch

from mlseg_dist.config import IGNORED
from mlseg_dist.inference import load_teacher
from mlseg_dist.whole_slide import reading
from mlseg_dist.whole_slide.network import onto_high_grid, slide_network
from mlseg_dist.whole_slide.reading import SharedPlane
from mlseg_dist.whole_slide.regions import Annotated, full_blend
from mlseg_dist.whole_slide.strips import Facts
from shards.annotation import Frame, read_annotation
from shards.audit.inspect import BadSlide
from shards.plane import Plane
from shards.reader import SlideReader
from tests.mlseg_dist.tiny_run import MPP, SIZE, SLIDES
from tests.mlseg_dist.whole_slide.slides import VIEWS, everything, knows_colours, whole
from tests.shards.cutting.test_quarantine import spoil_tiles
from tests.shards.slides_for_tests import shards_config


def slide_of(run, number: int = 2) -> Path:
    return run.path.parent / "slides" / f"{SLIDES[number][0]}.tif"


@pytest.mark.parametrize(("overlap", "threads"), [(0.25, 1), (0.25, 4), (0.0, 2), (0.6, 3)])
def test_each_cell_gets_the_answer_to_its_own_pixel(run, overlap, threads):
    slide = slide_of(run)
    with whole(slide, knows_colours, threads=threads, overlap=overlap) as engine:
        tops, classes = [], []
        for strip in engine.strips():
            tops.append((strip.top, len(strip.region)))
            assert strip.corner == (0, strip.top) and strip.answered.all() and strip.region.all()
            classes.append(strip.classes(0.45).numpy().copy())
    assert [top for top, _ in tops] == np.cumsum([0, *(height for _, height in tops)])[:-1].tolist()
    with SlideReader(slide, MPP) as reader:
        image = torch.from_numpy(Plane(reader, None, MPP, 1 << 26).image(0, 0, SIZE))[None]
    assert (np.concatenate(classes) == knows_colours(image, image)[0].argmax(dim=0).numpy()).all()
    assert engine.facts.patches == np.prod(engine.grid.patches) and not engine.facts.unreadable


@pytest.mark.parametrize("step", [0, 1])
def test_threads_change_nothing_and_annotated_cells_get_what_the_whole_slide_would_give_them(run, step):
    slide, config = slide_of(run), shards_config()
    network = slide_network(load_teacher(run.config, step, run.path), 4)
    torch.set_num_threads(1)
    with SlideReader(slide, MPP) as reader:
        annotation = read_annotation(slide.with_suffix(".geojson"), config, Frame.of(reader))
    with whole(slide, network, threads=1) as engine:
        full, answered, _ = everything(engine.strips())
    assert answered.all() and np.ptp(full[1]) > 0.001
    with whole(slide, network, threads=4) as engine:
        again, _, _ = everything(engine.strips())
    assert (again == full).all()

    def corner_of(grid):
        region = Annotated(grid, annotation)
        assert (region.rows(0, SIZE) == (annotation.label((0, 0), (1, 1), (SIZE, SIZE)) != 255)).all()
        return region

    with whole(slide, network, corner_of, halo=full_blend) as engine:
        part, answered, region = everything(engine.strips())
    assert engine.facts.patches < np.prod(engine.grid.patches)
    assert answered[region].all() and not answered.all() and np.isnan(part[:, ~answered]).all()
    # The last bits of an answer depend on its place in a batch; a patch too few would change hundredths.
    np.testing.assert_allclose(part[:, region], full[:, region], rtol=0, atol=1e-4)
    with whole(slide, network, corner_of) as engine:
        without_halo, _, _ = everything(engine.strips())
    assert np.abs(without_halo[:, region] - full[:, region]).max() > 0.01


def test_cells_of_several_pixels_are_means_of_them(run):
    with whole(slide_of(run), knows_colours) as engine:
        fine, _, _ = everything(engine.strips())
    with whole(slide_of(run), knows_colours, cell_px=4) as engine:
        coarse, _, _ = everything(engine.strips())
    means = fine.reshape(3, SIZE // 4, 4, SIZE // 4, 4).mean(axis=(2, 4))
    assert coarse.shape == means.shape and engine.grid.cell_um == 4 * MPP
    np.testing.assert_allclose(coarse, means, atol=0.02)  # windows differ within a cell


def test_what_is_no_number_is_marked_and_never_background(run):
    def sometimes(high, low):
        answers = knows_colours(high, low)
        answers[(high.float().mean(dim=(1, 2, 3)) > 244)[:, None, None, None].expand_as(answers)] = torch.nan
        return answers

    strips = []
    with (
        whole(slide_of(run), sometimes) as engine,
        pytest.raises(BadSlide, match=r"no number .*centred on x \d+, y \d+"),
    ):
        for strip in engine.strips():
            strips.append((strip.classes(0.45).numpy().copy(), strip.bad()))
    classes, bad = (np.concatenate(parts) for parts in zip(*strips, strict=True))
    assert 0 < bad.mean() < 1 and ((classes == IGNORED) == bad).all()
    with whole(slide_of(run), lambda high, low: torch.full((len(high), 3, 64, 64), torch.nan)) as engine:
        first = next(iter(engine.strips()))
        assert first.bad().all() and (first.classes(0.45) == IGNORED).all()


def test_pixels_that_cannot_be_decoded_leave_a_hole_and_too_many_end_it(tmp_path):
    image = np.full((1024, 1024, 3), 240, np.uint8)
    image[::3, ::5] = 90
    path = tmp_path / "spoiled.tif"
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", compression="deflate")
    spoil_tiles(path, [101])
    strips = []
    with (
        whole(path, knows_colours, patch=32) as engine,
        pytest.raises(BadSlide, match=r"patches cannot be decoded.*101"),
    ):
        for strip in engine.strips():
            strips.append((strip.classes(0.45).numpy().copy(), strip.bad()))
    classes, bad = (np.concatenate(parts) for parts in zip(*strips, strict=True))
    row, column = divmod(101, 16)
    hole = np.s_[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
    assert bad[hole].all() and (classes[bad] == IGNORED).all() and (classes[~bad] == 0).all() and bad.mean() < 0.2
    Facts(patches=1000, unreadable=10, not_finite=10).check()
    with pytest.raises(BadSlide, match="11 of 1000 patches cannot be decoded"):
        Facts(patches=1000, unreadable=11).check()


def test_every_block_is_read_once_and_those_above_are_forgotten(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "tall.tif", np.full((4096, 512, 3), 9, np.uint8), tile=(256, 256), photometric="rgb")
    asked, kept = [], []
    original = SharedPlane._block

    def counted(plane, row, column):
        asked.append((plane, row, column, (row, column) in plane._blocks))
        kept.append(plane.bytes)
        return original(plane, row, column)

    monkeypatch.setattr(SharedPlane, "_block", counted)
    with whole(tmp_path / "tall.tif", knows_colours, threads=1) as engine:
        everything(engine.strips())
        read = [(plane, row, column) for plane, row, column, known in asked if not known]
    assert len(read) == len(set(read)) and len(asked) > 4 * len(read)
    high = engine.views.planes["high"]
    assert len({row for plane, row, _ in read if plane is high}) == 18
    columns = 4  # from the one left of the slide to the one right of it
    assert max(kept) <= 3 * columns * 3 * 256**2


def test_a_strip_that_nobody_asks_for_stops_the_reading_threads(run):
    with whole(slide_of(run), knows_colours) as engine:
        strips = engine.strips()
        next(strips)
        assert any(thread.name.startswith("slide") for thread in threading.enumerate())
        strips.close()
        assert not any(thread.name.startswith("slide") for thread in threading.enumerate())


def test_no_thread_reads_from_a_slide_that_is_closed(run):
    with whole(slide_of(run), knows_colours) as engine:
        strips = engine.strips()
        next(strips)
    with pytest.raises(RuntimeError, match="the slide is closed"):
        everything(strips)


def test_a_networks_low_view_is_cut_to_the_high_field_and_enlarged():
    low = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    centres = low[:, :, 24:40, 24:40].reshape(-1, 16, 16)
    by_opencv = np.stack([cv2.resize(one, (64, 64), interpolation=cv2.INTER_LINEAR) for one in centres])
    found = onto_high_grid(torch.from_numpy(low), 4).numpy()
    np.testing.assert_allclose(found, by_opencv.reshape(2, 3, 64, 64), atol=1e-6)


def test_memory_does_not_grow_with_the_slides_height(tmp_path, monkeypatch):
    """Kept whole, the probabilities of the slide's last three quarters alone would take 72 MiB."""
    monkeypatch.setattr(reading, "_TILE_BYTES", 16 << 20)
    tile, shape = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8), (16384, 512, 3)
    tiles = (tile for _ in range(shape[0] // 128))
    path = tmp_path / "tall.tif"
    tifffile.imwrite(path, tiles, shape=shape, dtype=np.uint8, tile=(256, 256), photometric="rgb")
    answer = torch.full((8, 3, 256, 256), 1 / 3)
    used = {}
    with whole(path, lambda high, low: answer, patch=256) as engine:
        for strip in engine.strips():
            used[strip.top] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    at_a_quarter = max(mib for top, mib in used.items() if top < shape[0] // 4)
    assert len(used) > 80 and max(used.values()) - at_a_quarter < 16, used


def test_views_match_the_grid(run):
    assert VIEWS["low_mpp"] / VIEWS["high_mpp"] == run.manifest.ratio
