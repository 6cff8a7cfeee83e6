"""A tile gives the colours that its file holds; what is no 8-bit RGB, turned, transparent or damaged is refused in words."""

import contextlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mlseg_core.errors import UserError
from shards.pixels import read_tile, tile_size, tile_was_misread

SOFT = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8), (0, 0), 2)
GREY = SOFT[..., 1]
OPAQUE = np.dstack([SOFT, np.full_like(GREY, 255)])


def pillow(kind, image=SOFT, mode=None, **options):
    return lambda path: Image.fromarray(image, mode).save(path, kind, **options)


def tiff(image=SOFT, **options):
    return lambda path: tifffile.imwrite(path, image, **{"photometric": "rgb", "metadata": None, **options})


def palette(path):
    Image.fromarray(SOFT).quantize(16).save(path, "PNG")


def leave_out(path, segment=1):
    """Sets the offset and the byte count of a tile of a TIFF to 0: the file leaves that tile out."""
    with tifffile.TiffFile(path) as file:
        tags = [file.pages[0].tags[name] for name in ("TileOffsets", "TileByteCounts")]
        places = [(tag.valueoffset, {3: 2, 4: 4}[tag.dtype]) for tag in tags]
    data = bytearray(path.read_bytes())
    for place, length in places:
        data[place + segment * length : place + (segment + 1) * length] = bytes(length)
    path.write_bytes(data)


def in_the_jpeg(change):
    """Changes the first JPEG of a TIFF, whose length stays."""

    def changed(data):
        start = data.index(b"\xff\xda")
        end = data.index(b"\xff\xd9", start)
        data[start:end] = change(data[start:end])
        return data

    return changed


def sparse(path, image=SOFT, **options):
    tiff(image, tile=(32, 32), compression="deflate", **options)(path)
    leave_out(path)


PLANES = SOFT.transpose(2, 0, 1)
COLOUR_MAP = np.random.default_rng(1).integers(0, 65536, (3, 256), np.uint16)
EXACT = {
    "png": (pillow("PNG"), SOFT),
    "bmp": (pillow("BMP"), SOFT),
    "webp": (pillow("WEBP", lossless=True), SOFT),
    "opaque alpha": (pillow("PNG", OPAQUE), SOFT),
    "grey": (pillow("PNG", GREY), np.dstack([GREY] * 3)),
    "tiff": (tiff(compression="lzw"), SOFT),
    "tiff with alpha": (tiff(OPAQUE, extrasamples=["unassalpha"]), SOFT),
    "grey ome-tiff": (
        lambda path: tifffile.imwrite(path, GREY, ome=True, photometric="minisblack", metadata={"axes": "YX"}),
        np.dstack([GREY] * 3),
    ),
    "grey tiff": (tiff(GREY, photometric="minisblack"), np.dstack([GREY] * 3)),
    "tiff with a fourth sample that is not alpha": (
        tiff(np.dstack([SOFT, GREY]), extrasamples=["unspecified"]),
        SOFT,
    ),
    "jpeg 2000": (pillow("JPEG2000", irreversible=False), SOFT),
    "grey jpeg 2000": (pillow("JPEG2000", GREY, irreversible=False), np.dstack([GREY] * 3)),
    "zstd": (tiff(compression="zstd", tile=(32, 32)), SOFT),
    "planes": (tiff(PLANES, planarconfig="separate"), SOFT),
    "channels": (
        lambda path: tifffile.imwrite(path, PLANES, ome=True, photometric="minisblack", metadata={"axes": "CYX"}),
        SOFT,
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_the_colours_of_the_file(tmp_path, kind):
    write, expected = EXACT[kind]
    write(tmp_path / "t")
    assert np.array_equal(read_tile(tmp_path / "t"), expected) and tile_size(tmp_path / "t") == (90, 60)
    assert tile_was_misread(tmp_path / "t") == ("colours in planes" if kind in ("planes", "channels") else None)


def test_a_palette_is_colours(tmp_path):
    palette(tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as image:
        assert image.mode == "P" and np.array_equal(read_tile(tmp_path / "t.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    "write",
    [
        tiff(compression="jpeg", photometric="ycbcr", subsampling=(2, 2), tile=(32, 32)),
        tiff(compression="jpeg", photometric="ycbcr", subsampling=(1, 1), rowsperstrip=16),
        tiff(compression="jpeg", tile=(32, 32), compressionargs={"outcolorspace": "rgb"}),
        tiff(GREY, compression="jpeg", photometric="minisblack", tile=(32, 32)),
        tiff(GREY, photometric="palette", colormap=COLOUR_MAP),
        tiff(GREY, photometric="palette", colormap=COLOUR_MAP >> 8),
    ],
    ids=["4:2:0", "4:4:4", "rgb", "grey", "palette", "8-bit palette"],
)
def test_tiffs_have_the_pixels_that_opencv_gives(tmp_path, write):
    write(tmp_path / "t.tif")
    expected = cv2.imread(str(tmp_path / "t.tif"), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(read_tile(tmp_path / "t.tif"), expected)


def test_opencv_writes_nothing_of_its_own(tmp_path, capfd):
    for write in (tiff(compression="zstd"), sparse, REFUSED["a 16-bit png, cut short"][0]):
        write(tmp_path / "t")
        with contextlib.suppress(UserError):
            read_tile(tmp_path / "t")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 90, "progressive": True}, {"subsampling": 0}])
def test_jpegs_are_decoded_as_ever(tmp_path, options):
    pillow("JPEG", **options)(tmp_path / "t.jpg")
    expected = cv2.imread(str(tmp_path / "t.jpg"), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(read_tile(tmp_path / "t.jpg"), expected)


def exif(kind):
    tag = Image.Exif()
    tag[0x0112] = 3
    return pillow(kind, exif=tag.tobytes())


def spoilt(write, change):
    def both(path):
        write(path)
        path.write_bytes(change(bytearray(path.read_bytes())))

    return both


def flip(at):
    def change(data):
        data[int(len(data) * at)] ^= 0x10
        return data

    return change


def marker(data):
    """A marker amid the pixels of a JPEG, where OpenCV decodes something and says nothing."""
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    data[middle : middle + 2] = b"\xff\xd9"
    return data


DEEP = (SOFT.astype(np.uint16) << 4) + 3
SHORT = {"half": lambda data: data[: len(data) // 2], "no end mark": lambda data: data[:-2]}
REFUSED = {
    "16-bit png": (
        lambda path: cv2.imwrite(f"{path}.png", DEEP) and path.with_suffix(".bin.png").rename(path),
        "16-bit numbers from",
    ),
    "16-bit tiff": (tiff(DEEP), rf"uint16 numbers from {DEEP.min()} to {DEEP.max()}, not 8-bit colours"),
    "16-bit grey": (
        pillow("PNG", DEEP[..., 0].copy()),
        rf"16-bit numbers from {DEEP[..., 0].min()} to {DEEP[..., 0].max()}",
    ),
    "float": (tiff(SOFT.astype(np.float32)), "float32 numbers"),
    "cmyk jpeg": (lambda path: Image.fromarray(SOFT).convert("CMYK").save(path, "JPEG"), "CMYK|YCCK"),
    "cmyk tiff": (tiff(OPAQUE, photometric="separated"), "CMYK"),
    "transparent": (pillow("PNG", np.dstack([SOFT, GREY])), "transparent pixels"),
    "transparent tiff": (tiff(np.dstack([SOFT, GREY]), extrasamples=["unassalpha"]), "transparent pixels"),
    "stack": (tiff(np.stack([SOFT] * 3)), "3 pictures of one size"),
    "turned jpeg": (exif("JPEG"), r"shown turned \(EXIF orientation 3\)"),
    "turned png": (exif("PNG"), r"shown turned \(EXIF orientation 3\)"),
    "turned tiff": (tiff(extratags=[(274, 3, 1, 8, True)]), r"shown turned \(EXIF orientation 8\)"),
    "half a jpeg": (spoilt(pillow("JPEG"), SHORT["half"]), "damaged"),
    "a jpeg without its end": (spoilt(pillow("JPEG"), SHORT["no end mark"]), "damaged"),
    "a jpeg with a marker amid": (spoilt(pillow("JPEG"), marker), "damaged"),
    "half a png": (spoilt(pillow("PNG"), SHORT["half"]), "cannot be read"),
    "a flipped bit in a png": (spoilt(pillow("PNG"), flip(0.5)), "cannot be read"),
    "half a bmp": (spoilt(pillow("BMP"), SHORT["half"]), "cannot be read"),
    "half a tiff": (spoilt(tiff(), lambda data: data[:-9000]), "cut short"),
    "a damaged tiff": (spoilt(tiff(compression="deflate"), flip(0.6)), "damaged"),
    "half a jpeg in a tiff": (
        spoilt(
            tiff(compression="jpeg", photometric="ycbcr", tile=(64, 96)),
            in_the_jpeg(lambda scan: scan[: len(scan) // 3] + bytes(len(scan) - len(scan) // 3)),
        ),
        "damaged .*JPEG",
    ),
    "a tiff without one of its tiles": (sparse, "leaves out some of its pixels"),
    "a tiff with alpha without one of its tiles": (
        lambda path: sparse(path, OPAQUE, extrasamples=["unassalpha"]),
        "leaves out some of its pixels",
    ),
    "half a jpeg 2000": (spoilt(pillow("JPEG2000"), SHORT["half"]), "cannot be read"),
    "16-bit jpeg 2000": (
        lambda path: cv2.imwrite(f"{path}.jp2", DEEP) and path.with_suffix(".bin.jp2").rename(path),
        "16-bit numbers",
    ),
    "a 16-bit png, cut short": (
        lambda path: (
            cv2.imwrite(f"{path}.png", DEEP)
            and path.write_bytes(path.with_name(f"{path.name}.png").read_bytes()[:3000])
        ),
        "cannot be read",
    ),
    "text": (lambda path: path.write_text("nothing"), "not a whole JPEG, PNG, BMP, WEBP, JPEG2000 or TIFF"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_whole_picture_in_rgb_is_refused_in_words(tmp_path, kind):
    write, said = REFUSED[kind]
    write(tmp_path / "tile.bin")
    with pytest.raises(UserError, match=rf"tile\.bin.*({said})"):
        read_tile(tmp_path / "tile.bin")
