"""A mask gives the numbers that its file holds, of whatever kind; what holds no class numbers is refused in words."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mlseg_core.errors import UserError
from shards.pixels import mask_size, mask_was_misread, open_mask, read_mask
from shards.pyramids.pyramid import is_tiff

VALUES = np.zeros((40, 70), np.uint8)
VALUES[3:20, 10:30], VALUES[25:39, 33:60], VALUES[0, 0] = 1, 2, 3
COLOURS = np.array([[250, 250, 250], [200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)


def png(path, values=VALUES, mode=None, **options):
    Image.fromarray(values, mode).save(path, "PNG", **options)


def palette(path, kind="PNG", **options):
    image = Image.fromarray(VALUES, "P")
    image.putpalette(COLOURS.tobytes())
    image.save(path, kind, **options)


def tiff(path, values=VALUES, **options):
    tifffile.imwrite(path, values, **{"photometric": "minisblack", "metadata": None, **options})


def few_bits(path, bits):
    """Grey PNG of 2 or 4 bits a pixel, which Pillow does not write."""
    rows = np.unpackbits(VALUES[..., None], axis=-1)[..., 8 - bits :].reshape(len(VALUES), -1)
    data = b"".join(b"\0" + row.tobytes() for row in np.packbits(rows, axis=1))
    size = struct.pack(">IIBBBBB", VALUES.shape[1], VALUES.shape[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    )


BLACK_AND_WHITE = ((0, 0, 0), (255, 255, 255))


def bmp(path, values, bits, colours):
    """A BMP with a palette of its own, which Pillow does not write."""
    height, width = values.shape
    rows = np.unpackbits(values[::-1, :, None], axis=-1)[..., 8 - bits :].reshape(height, -1)
    rows = np.packbits(np.pad(rows, ((0, 0), (0, -width * bits % 32))), axis=1)
    palette = b"".join(bytes((*colour, 0)) for colour in colours)
    start = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + rows.size, 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, rows.size, 0, 0, len(colours), 0)
    path.write_bytes(head + info + palette + rows.tobytes())


def leave_out(path):
    """A TIFF whose first tile has the offset and the byte count 0."""
    tiff(path, tile=(16, 16), compression="deflate")
    with tifffile.TiffFile(path) as file:
        tags = [file.pages[0].tags[name] for name in ("TileOffsets", "TileByteCounts")]
        places = [(tag.valueoffset, {3: 2, 4: 4}[tag.dtype]) for tag in tags]
    data = bytearray(path.read_bytes())
    for place, length in places:
        data[place : place + length] = bytes(length)
    path.write_bytes(data)


RGB = np.dstack([VALUES] * 3)
EXACT = {
    "8-bit PNG": (png, None),
    "16-bit PNG": (lambda path: png(path, VALUES.astype(np.uint16)), "16-bit numbers"),
    "palette PNG": (palette, "numbers of colours"),
    "palette PNG of 2 bits": (lambda path: palette(path, bits=2), "numbers of colours"),
    "palette BMP": (lambda path: palette(path, "BMP"), "numbers of colours"),
    "grey BMP": (lambda path: Image.fromarray(VALUES).save(path, "BMP"), None),
    "2-bit PNG": (lambda path: few_bits(path, 2), "2-bit numbers"),
    "4-bit PNG": (lambda path: few_bits(path, 4), "4-bit numbers"),
    "RGB PNG of equal channels": (lambda path: png(path, np.dstack([VALUES] * 3)), None),
    "opaque RGBA PNG": (lambda path: png(path, np.dstack([VALUES] * 3 + [np.full_like(VALUES, 255)])), None),
    "RGB TIFF of equal channels": (lambda path: tiff(path, RGB, photometric="rgb", tile=(16, 16)), None),
    "RGB TIFF of equal planes": (
        lambda path: tiff(path, RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        None,
    ),
    "opaque RGBA TIFF": (
        lambda path: tiff(
            path, np.dstack([RGB, np.full_like(VALUES, 255)]), photometric="rgb", extrasamples=["unassalpha"]
        ),
        None,
    ),
    "4-bit BMP of grey": (lambda path: bmp(path, VALUES, 4, [(n, n, n) for n in range(4)]), "numbers of colours"),
    "8-bit TIFF": (tiff, None),
    "16-bit TIFF": (lambda path: tiff(path, VALUES.astype(np.uint16), tile=(16, 16)), "16-bit numbers"),
    "int32 TIFF": (lambda path: tiff(path, VALUES.astype(np.int32)), "32-bit numbers"),
    "palette TIFF": (
        lambda path: tiff(path, photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
        "8-bit numbers of colours",
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_the_numbers_of_the_file(tmp_path, kind):
    write, misread = EXACT[kind]
    write(tmp_path / "m")
    values = read_mask(tmp_path / "m")
    assert values.dtype in (np.uint8, np.uint16) and np.array_equal(values, VALUES)
    assert mask_size(tmp_path / "m") == (70, 40) and mask_was_misread(tmp_path / "m") == misread
    if "RGB" not in kind:
        pixels = open_mask(tmp_path / "m")
        assert np.array_equal(pixels.read((20, 10), (30, 20)), VALUES[10:30, 20:50])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_black_and_white_is_0_and_1(tmp_path, kind):
    Image.fromarray(VALUES == 1).save(tmp_path / "m", kind)
    assert is_tiff(tmp_path / "m") == (kind == "TIFF")
    assert np.array_equal(read_mask(tmp_path / "m"), VALUES == 1)
    assert mask_was_misread(tmp_path / "m") == "1-bit numbers"


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_bmp_of_black_and_white_whatever_its_bits(tmp_path, bits):
    bmp(tmp_path / "m.bmp", (VALUES == 1).astype(np.uint8), bits, BLACK_AND_WHITE)
    assert np.array_equal(read_mask(tmp_path / "m.bmp"), VALUES == 1)
    assert np.array_equal(open_mask(tmp_path / "m.bmp").read((0, 0), (70, 40)), VALUES == 1)


def test_tiles_that_a_mask_leaves_out_are_0_in_annotations_only(tmp_path):
    leave_out(tmp_path / "m.tif")
    expected = VALUES.copy()
    expected[:16, :16] = 0
    assert np.array_equal(open_mask(tmp_path / "m.tif").read((0, 0), (70, 40)), expected)
    with pytest.raises(UserError, match=r"m\.tif: the mask leaves out some of its pixels"):
        read_mask(tmp_path / "m.tif")


def test_numbers_above_255(tmp_path):
    png(tmp_path / "m.png", VALUES.astype(np.uint16) * 300)
    assert read_mask(tmp_path / "m.png").max() == 900


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    png(path, exif=exif.tobytes())


def flipped(path):
    png(path, np.random.default_rng(0).integers(0, 3, (40, 70), dtype=np.uint8))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 200] ^= 4
    path.write_bytes(data)


def cut_short(path):
    png(path, np.random.default_rng(0).integers(0, 3, (40, 70), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:300])


REFUSED = {
    "colours": (lambda path: png(path, COLOURS[VALUES]), r"picture \(RGB\) in colours, not one whole number"),
    "transparent": (lambda path: png(path, np.dstack([VALUES] * 4)), "transparent pixels"),
    "grey with alpha": (lambda path: png(path, np.dstack([VALUES] * 2), "LA"), "transparent pixels"),
    "jpeg": (lambda path: Image.fromarray(VALUES).save(path, "JPEG"), "a JPEG, whose numbers are not the ones"),
    "jpeg in tiff": (lambda path: tiff(path, compression="jpeg"), "compressed as JPEG"),
    "float": (lambda path: tiff(path, VALUES.astype(np.float32)), "holds float32, not whole numbers"),
    "negative": (lambda path: tiff(path, VALUES.astype(np.int16) - 1), r"outside 0 to 65535 \(-1 to 2\)"),
    "large": (lambda path: tiff(path, VALUES.astype(np.uint32) * 70_000), r"outside 0 to 65535 \(0 to 210000\)"),
    "inverted": (lambda path: tiff(path, photometric="miniswhite"), "MinIsWhite"),
    "stack": (lambda path: tiff(path, np.stack([VALUES] * 3)), "holds 3 pictures of one size"),
    "colours in tiff": (
        lambda path: tiff(path, COLOURS[VALUES], photometric="rgb"),
        r"picture \(RGB\) in colours, not one whole number",
    ),
    "grey as colours, compressed as JPEG": (
        lambda path: tiff(path, RGB, photometric="ycbcr", compression="jpeg"),
        "a picture of 3 channels|compressed as JPEG",
    ),
    "grey as colours, compressed as WebP": (
        lambda path: tiff(path, RGB, photometric="rgb", compression="webp"),
        "a picture of 3 channels",
    ),
    "transparent tiff": (
        lambda path: tiff(path, np.dstack([VALUES] * 4), photometric="rgb", extrasamples=["unassalpha"]),
        "transparent pixels",
    ),
    "a short bmp": (
        lambda path: bmp(path, VALUES, 8, BLACK_AND_WHITE) or path.write_bytes(path.read_bytes()[:-100]),
        "ends too early",
    ),
    "turned": (turned, r"shown turned \(EXIF orientation 6\)"),
    "turned in tiff": (lambda path: tiff(path, extratags=[(274, 3, 1, 3, True)]), r"turned \(TIFF orientation 3\)"),
    "flipped bit": (flipped, "cannot be read"),
    "cut short": (cut_short, "cannot be read"),
    "text": (lambda path: path.write_text("1,2,3"), "not a whole PNG, BMP or TIFF"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_class_numbers_is_refused_in_words(tmp_path, kind):
    write, said = REFUSED[kind]
    write(tmp_path / "mask.bin")
    with pytest.raises(UserError, match=rf"mask\.bin: .*{said}"):
        read_mask(tmp_path / "mask.bin")


def test_an_annotation_of_colours_is_refused_even_when_they_are_grey(tmp_path):
    png(tmp_path / "m.png", np.dstack([VALUES] * 3))
    with pytest.raises(UserError, match=r"a picture \(RGB, 8 bits a channel\)"):
        open_mask(tmp_path / "m.png")
    tiff(tmp_path / "m.tif", RGB, photometric="rgb")
    with pytest.raises(UserError, match="a picture of 3 channels"):
        open_mask(tmp_path / "m.tif")


def test_colours_of_16_bits_are_not_cut_down(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.dstack([VALUES.astype(np.uint16)] * 3))
    with pytest.raises(UserError, match=r"a picture \(RGB, 16 bits a channel\)"):
        read_mask(tmp_path / "m.png")
