"""Nothing that a slide table names can be read for ever: pipes, devices, circles of directories, sizes of no scanner, time."""

import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from launch.cli import main
from mlseg_core.errors import UserError
from shards import time_limit as limits
from shards.annotation import AnnotationFile
from shards.audit.inspect import BadSlide
from shards.cutting import check_slides, cut, plan_cut
from shards.cutting import plan as planning
from shards.cutting.identity import slide_files
from shards.pixels import open_mask
from shards.pyramids import open_pyramid
from shards.pyramids.directories import check_directories
from shards.pyramids.tiff import TiffPyramid
from shards.time_limit import each_within, time_limit
from tests.shards.slides_for_tests import ROOT, shards_config, tissue_slide, write_corpus

CACHE = 1 << 20
PICTURE = tissue_slide(1, 256)


@pytest.fixture(autouse=True)
def ends():
    """A test that hangs fails after two minutes."""

    def ring(*_):
        raise AssertionError("it hangs")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def bound_socket(path: Path) -> Path:
    socket.socket(socket.AF_UNIX).bind(str(path))
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize(
    ("make", "kind"),
    [(pipe, "a named pipe"), (bound_socket, "a socket"), (device, "a device")],
    ids=["pipe", "socket", "device"],
)
def test_only_regular_files_are_opened(tmp_path, monkeypatch, make, kind):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    path = make(Path("s.tif"))
    with pytest.raises(UserError, match=f"the slide is {kind}.*, not a regular file. Name the file itself"):
        open_pyramid(path, CACHE)
    with pytest.raises(UserError, match=f"the annotation cannot be read .*{kind}"):
        assert AnnotationFile(path).names
    with pytest.raises(UserError, match=f"the mask is {kind}"):
        open_mask(path)
    with pytest.raises(OSError, match=kind):
        slide_files(path)


@pytest.mark.parametrize("name", ["slide.dcm", "part.bin"])
def test_a_pipe_among_the_files_of_a_slide(tmp_path, name):
    """OpenSlide opens all files beside a DICOM file, to find those of its series."""
    real = ROOT / "../shared/realdata/wsi_dicom"
    if not real.is_dir():
        pytest.skip("the real slides are not there: ../shared/realdata/wsi_dicom")
    first = sorted(real.glob("*.dcm"))[0]
    (tmp_path / "a.dcm").symlink_to(first.resolve())
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: the part of a slide is a named pipe"):
        open_pyramid(tmp_path / "a.dcm", CACHE)


def offsets(path: Path) -> tuple[str, int, list[int]]:
    """Struct format of an offset, bytes of it, and where each directory of the main chain says where the next one is."""
    with tifffile.TiffFile(path) as file:
        big = file.is_bigtiff
        tags, size, head = (20, 8, 8) if big else (12, 4, 2)
        at = [page.offset + head + len(page.tags) * tags for page in file.pages]
        return "<" + ("Q" if big else "I"), size, at


def patch(path: Path, at: int, form: str, value: int) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)
    path.write_bytes(data)


def pages(path: Path, count: int, big: bool, **options) -> None:
    with tifffile.TiffWriter(path, bigtiff=big) as tiff:
        for _ in range(count):
            tiff.write(PICTURE, photometric="rgb", metadata=None, **options)


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("layout", [{"tile": (128, 128)}, {"rowsperstrip": 64}], ids=["tiles", "strips"])
@pytest.mark.parametrize(("count", "back_to"), [(1, 0), (3, 0), (3, 1), (3, 2)])
def test_a_circle_of_directories(tmp_path, big, layout, count, back_to):
    path = tmp_path / "s.tif"
    pages(path, count, big, **layout)
    form, _, following = offsets(path)
    with tifffile.TiffFile(path) as file:
        target = file.pages[back_to].offset
    check_directories(path)
    patch(path, following[-1], form, target)
    for opened in (lambda: open_pyramid(path, CACHE), lambda: TiffPyramid(path), lambda: open_mask(path)):
        with pytest.raises(UserError, match=r"s\.tif: the TIFF's directories form a circle"):
            opened()


@pytest.mark.parametrize("back_to", ["itself", "its parent"])
def test_a_circle_of_sub_directories(tmp_path, back_to):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as tiff:
        options = {"photometric": "rgb", "metadata": None, "tile": (128, 128)}
        tiff.write(PICTURE, subifds=1, **options)
        tiff.write(PICTURE[::2, ::2], subfiletype=1, **options)
    with tifffile.TiffFile(path) as file:
        parent, child = file.pages[0].offset, file.pages[0].pages[0]
        following = child.offset + 2 + len(child.tags) * 12
    check_directories(path)
    patch(path, following, "<I", child.offset if back_to == "itself" else parent)
    with pytest.raises(UserError, match="form a circle"):
        open_pyramid(path, CACHE)


def test_two_directories_may_share_one_below_them(tmp_path):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as tiff:
        for _ in range(2):
            tiff.write(PICTURE, subifds=1, photometric="rgb", metadata=None)
            tiff.write(PICTURE[::2, ::2], subfiletype=1, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        first, second = (page.tags[330] for page in file.pages)
        patch(path, second.valueoffset, "<I", first.value[0])
    check_directories(path)


def test_too_many_directories(tmp_path, monkeypatch):
    monkeypatch.setattr("shards.pyramids.directories._MOST_DIRECTORIES", 5)
    pages(tmp_path / "s.tif", 6, False)
    with pytest.raises(UserError, match="more than 5 directories, which no slide has"):
        open_pyramid(tmp_path / "s.tif", CACHE)


@pytest.mark.parametrize("layout", [{"tile": (128, 128)}, {"rowsperstrip": 64}], ids=["tiles", "strips"])
@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (5_000_000, 256), (2_000_000, 2_000_000)])
def test_sizes_that_no_scanner_makes(tmp_path, layout, size):
    path = tmp_path / "s.tif"
    pages(path, 1, False, **layout)
    with tifffile.TiffFile(path) as file:
        places = [file.pages[0].tags[tag].offset for tag in (256, 257)]
    for at, value in zip(places, size, strict=True):
        patch(path, at + 2, "<H", 4)  # LONG
        patch(path, at + 8, "<I", value)
    with pytest.raises(UserError, match=f"it says that it has {size[0]} × {size[1]} px, which no scanner makes"):
        open_pyramid(path, CACHE)


@pytest.mark.parametrize("layout", [{"tile": (128, 128)}, {"rowsperstrip": 64}], ids=["tiles", "strips"])
def test_fewer_segments_than_its_size_needs(tmp_path, layout):
    path = tmp_path / "s.tif"
    pages(path, 1, False, **layout)
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags[257].offset
    patch(path, at + 2, "<H", 4)
    patch(path, at + 8, "<I", 100_000)
    with pytest.raises(UserError, match="lists 4 tiles or strips, and its size needs"):
        TiffPyramid(path)


def test_a_pipe_in_the_table_goes_into_quarantine_and_the_others_are_cut(tmp_path, capsys):
    table = write_corpus(tmp_path / "slides", slides=10)
    (tmp_path / "slides/s3.tif").unlink()
    os.mkfifo(tmp_path / "slides/s3.tif")
    config = ROOT / "configs/classes/breast.yaml"
    small = [f"shards.{setting}" for setting in ("high_mpp=2.0", "low_mpp=8.0", "store_px=64", "stride_um=96.0")]
    status = main(["shards", "build", str(config), *small, "--slides", str(table), "--out", str(tmp_path / "out")])
    told = capsys.readouterr()
    assert status == 1, told.err
    assert "s3 will be quarantined" in told.err and "named pipe" in told.err
    assert "named pipe" in (tmp_path / "out/quarantine.csv").read_text()
    assert "pairs of 9 slides" in told.out


def test_a_pipe_as_annotation_is_found_by_the_planning(tmp_path):
    table = write_corpus(tmp_path, slides=3)
    (tmp_path / "s0.geojson").unlink()
    os.mkfifo(tmp_path / "s0.geojson")
    config = shards_config(max_quarantined=0.5)
    found = check_slides(config, table, plan_cut(config, table, check=True))
    assert list(found) == ["s0"] and "named pipe" in str(found["s0"])


def test_a_limit_ends_what_waits_and_what_runs():
    def waits():
        time.sleep(60)

    def swallows():
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass

    for work in (waits, swallows):
        with pytest.raises(BadSlide, match="too long"), time_limit(0.2, lambda: BadSlide("too long")):
            work()


def test_of_two_limits_the_sooner_counts_and_the_later_still_holds():
    outer, inner = BadSlide("outer"), BadSlide("inner")
    with pytest.raises(BadSlide, match="outer"), time_limit(0.5, lambda: outer):
        with pytest.raises(BadSlide, match="inner"), time_limit(0.1, lambda: inner):
            time.sleep(5)
        with time_limit(5, lambda: inner):
            time.sleep(5)


def test_in_another_thread_there_is_no_limit_and_no_error():
    came = []

    def work():
        with time_limit(0.05, lambda: BadSlide("never")):
            time.sleep(0.2)
        came.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert came == [True]


def test_each_of_many_has_its_limit_and_the_others_their_results():
    never = threading.Event()

    def work(number):
        if number in (1, 2):
            never.wait()
        return number * 10

    begun = time.monotonic()
    assert each_within(work, range(6), 2, 0.3, lambda number: -number) == [0, -1, -2, 30, 40, 50]
    assert time.monotonic() - begun < 10
    never.set()


def test_each_of_many_raises_what_the_first_raised():
    def work(number):
        if number:
            raise ValueError(str(number))
        return number

    with pytest.raises(ValueError, match="1"):
        each_within(work, [0, 1, 2], 3, 5.0, lambda number: -1)
    assert each_within(work, [], 3, 5.0, lambda number: -1) == []


def test_a_slide_that_is_not_cut_in_time_is_bad(tmp_path, monkeypatch):
    table = write_corpus(tmp_path, slides=3)
    config = shards_config(slide_hours=0.2 / 3600)
    [unit, *_] = plan_cut(config, table).units
    monkeypatch.setattr(sys.modules["shards.cutting.cut"], "read_annotation", lambda *_: time.sleep(60))
    with pytest.raises(BadSlide, match=r"took longer than 5.*e-05 h to cut; .*shards\.slide_hours"):
        cut(unit, None)


def test_a_slide_that_is_not_planned_in_time_is_named_and_the_plan_comes(tmp_path, monkeypatch):
    table = write_corpus(tmp_path, slides=3)
    never = threading.Event()
    opened = planning.open_slide

    def stuck(slide, high_mpp):
        if slide.slug == "s1":
            never.wait()
        return opened(slide, high_mpp)

    monkeypatch.setattr(planning, "open_slide", stuck)
    monkeypatch.setattr(planning, "OPENING_S", 6.0)
    plan = plan_cut(shards_config(max_quarantined=0.5), table, check=True)
    assert len(plan.units) == 3 and list(plan.problems) == ["s1"] and "took longer than" in str(plan.problems["s1"])
    assert limits.OPENING_S > 60
    never.set()


def test_the_limit_is_no_part_of_what_the_shards_depend_on(tmp_path):
    table = write_corpus(tmp_path, slides=3)
    one, other = shards_config(), shards_config(slide_hours=1.0)
    assert [unit.inputs for unit in plan_cut(one, table).units] == [
        unit.inputs for unit in plan_cut(other, table).units
    ]
    assert one.decides() == other.decides() and "slide_hours" not in one.model_dump(mode="json")


def test_a_mask_of_pages_without_a_circle_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.ones((64, 64), np.uint8), tile=(32, 32))
    assert open_mask(tmp_path / "m.tif").size == (64, 64)
