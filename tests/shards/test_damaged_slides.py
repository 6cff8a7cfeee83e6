"""What fuzzing found in damaged slides: never another picture in silence, never the end of the process."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from mlseg_core.errors import UserError
from shards.pyramids import Unreadable
from shards.pyramids.openslide_pyramid import OpenSlidePyramid
from shards.reader import SlideReader
from tests.shards.slides_for_tests import tissue_slide, write_scn, write_slide

SIDE = 640


def _scn(path: Path) -> Path:
    write_scn(path, cv2.GaussianBlur(tissue_slide(4, 320), (0, 0), 3), (100, 60), (600, 500))
    return path


def _whole(slide: SlideReader) -> np.ndarray:
    return slide.view((0.0, 0.0), (1.0, 1.0), slide.size)


@pytest.mark.parametrize("damage", ["cut", "name"])
def test_the_overview_of_a_damaged_scn_is_not_taken_for_the_slide(tmp_path: Path, damage: str) -> None:
    """Its first picture shows the glass; it was cut as if it were the slide, at a µm/px that is not its own."""
    path = _scn(tmp_path / "s.scn")
    data = path.read_bytes()
    if damage == "cut":
        with tifffile.TiffFile(path) as file:
            last = file.pages[len(file.pages) - 1].offset
        path.write_bytes(data[: last + 4])
    else:
        path.write_bytes(data.replace(b"leica-microsystems.com/scn", b"leica-microsystems.con/scn"))
    with pytest.raises(UserError, match=r"cannot be opened|only the overview of its glass|smaller than another one"):
        SlideReader(path)


def test_tiles_of_a_size_that_no_scanner_makes_are_refused_before_openslide_asks_for_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    write_slide(path, tissue_slide(1, SIDE))
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag in (322, 323):
            file.pages[0].tags[tag].overwrite(60_000)
    with pytest.raises(UserError, match="tiles have 60000 × 60000 px, which no scanner makes"):
        SlideReader(path)


@pytest.mark.parametrize("tile", range(9))
def test_a_tile_that_does_not_fit_its_checksum_gives_no_other_pixels(tmp_path: Path, tile: int) -> None:
    """libtiff, by which OpenSlide reads, passes over the checksums of deflated tiles."""
    path = tmp_path / "s.tif"
    picture = tissue_slide(1, SIDE)
    write_slide(path, picture)
    with tifffile.TiffFile(path) as file:
        at, length = file.pages[0].dataoffsets[tile], file.pages[0].databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[at + length // 2 : at + length // 2 + 8] = b"\xff" * 8
    path.write_bytes(data)
    with SlideReader(path) as slide:
        with pytest.raises(Unreadable):
            _whole(slide)
        rgb, lost = slide.salvage((0.0, 0.0), (1.0, 1.0), slide.size)
        assert lost.any() and not lost.all() and np.array_equal(rgb[~lost], picture[~lost])


def test_a_slide_that_goes_away_while_it_is_read_can_be_closed(tmp_path: Path) -> None:
    path = _scn(tmp_path / "s.scn")
    with tifffile.TiffFile(path) as file:
        at, length = file.pages[1].dataoffsets[0], file.pages[1].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[at : at + length] = b"\xff" * length
    path.write_bytes(data)
    slide = OpenSlidePyramid(path, 1 << 20)
    path.unlink()
    with pytest.raises(Unreadable, match="level 0"):
        slide.read(0, (100, 60), (64, 64))
    slide.close()
    slide.close()


def test_a_tile_of_more_bytes_than_the_file_has_is_refused(tmp_path: Path) -> None:
    """OpenSlide asks for the memory of it, and ends the process where there is none."""
    path = tmp_path / "s.tif"
    write_slide(path, tissue_slide(1, SIDE))
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = list(file.pages[0].databytecounts)
        file.pages[0].tags[325].overwrite([*counts[:3], 2_240_054_138, *counts[4:]])
    with pytest.raises(UserError, match="a tile has 2240054138 bytes, and the whole file has"):
        SlideReader(path)
