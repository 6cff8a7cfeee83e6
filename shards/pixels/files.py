"""What a picture file says of itself, and whether its bytes are whole. Pillow reads headers here, no pixels.

Pillow misreads BMPs with grey palettes: it drops the palette and reads the numbers with 1 bit (two colours) or 8 bits (more),
however many bits the file says.
"""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from mlseg_core.errors import UserError
from shards.pyramids.series import open_tiff, slide_series

_UNSPECIFIED = 0  # of ExtraSamples
_ORIENTATION = 0x0112
_JPEG = b"\xff\xd8\xff"
_JPEG2000_SIZES = b"\xff\x4f\xff\x51"
_PNG = b"\x89PNG\r\n\x1a\n"
UPRIGHT = (0, 1)
"""Orientation tags that turn nothing; some programs write 0."""


@dataclass(frozen=True)
class Header:
    """format: as Pillow names it.  mode: as Pillow would decode it.  size: (width, height) px.

    mode is P for BMPs of which Pillow would read the numbers with another count of bits than the file has .
    bits: of a sample, as stored; Pillow stretches grey of 2 and 4 bits to 8, and cuts 16-bit colours down to 8.
    orientation: the EXIF tag, 1 where the file has none.  alpha: some pixels may be transparent.  frames: pictures in it.
    """

    format: str
    mode: str
    size: tuple[int, int]
    bits: int
    orientation: int
    alpha: bool
    frames: int


@contextmanager
def opened(path: Path, formats: tuple[str, ...], what: str) -> Iterator[Image.Image]:
    """The file opened by Pillow. what: `tile` or `mask`. Raises UserError, for whatever goes wrong inside the block too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                yield image
    except UserError:
        raise
    except Image.UnidentifiedImageError:
        kinds = f"{', '.join(formats)} or TIFF"
        raise UserError(f"the {what} is not a whole {kinds}", path, f"Export it as {kinds}.") from None
    except Exception as error:  # decoders raise many kinds
        raise UserError(f"the {what} cannot be read ({error})", path, "Export it again.") from None


def header(path: Path, formats: tuple[str, ...], what: str) -> Header:
    """Raises UserError."""
    with opened(path, formats, what) as image:
        kind = image.format or ""
        bits, exif = _png(path) if kind == "PNG" else (8, image.getexif())
        mode = "P" if kind == "BMP" and is_misread_by_pillow(path, image.mode) else image.mode
        if kind == "JPEG2000":
            bits = _jpeg2000_bits(path)
        orientation = int(exif.get(_ORIENTATION, 1))
        frames = 1 if kind in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
        return Header(kind, mode, image.size, bits, orientation, image.has_transparency_data, frames)


def jpeg_colours(path: Path, what: str) -> str:
    """How a JPEG stores its colours: Gray, RGB, YCbCr, CMYK or YCCK. Raises UserError."""
    try:
        return simplejpeg.decode_jpeg_header(path.read_bytes())[2]
    except ValueError as error:
        raise UserError(f"the {what} cannot be read ({error})", path, "Export it again.") from None


def is_jpeg(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(3) == _JPEG


def _png(path: Path) -> tuple[int, Image.Exif]:
    """Bits of a sample and the EXIF data, wherever they lie; Pillow would decode all pixels for it."""
    bits, exif = 8, Image.Exif()
    with open(path, "rb") as file:
        file.seek(len(_PNG))
        while len(start := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", start)
            if name == b"IHDR":
                bits = file.read(length)[8]
            elif name == b"eXIf":
                exif.load(file.read(length))
            else:
                file.seek(length, os.SEEK_CUR)
            file.seek(4, os.SEEK_CUR)  # the checksum
    return bits, exif


def _jpeg2000_bits(path: Path) -> int:
    """Most bits of a sample, of its channels."""
    data = path.read_bytes()
    at = data.index(_JPEG2000_SIZES) + 40
    channels = int.from_bytes(data[at : at + 2], "big")
    return max((bits & 0x7F) + 1 for bits in data[at + 2 : at + 2 + 3 * channels : 3])


def check_whole(path: Path, formats: tuple[str, ...], what: str) -> None:
    """Raises UserError for a PNG with a wrong checksum and a JPEG at which libjpeg warns.

    A flipped bit in a JPEG can pass as other pixels: JPEG has no checksums.
    """
    if is_jpeg(path):
        try:
            simplejpeg.decode_jpeg(path.read_bytes(), "RGB", strict=True)
        except ValueError as error:
            raise UserError(f"the {what} is damaged ({error})", path, "Copy it again.") from None
        return
    with opened(path, formats, what) as image:
        if image.format == "PNG":
            image.verify()


def alpha_of_tiff(path: Path, what: str) -> np.ndarray | None:
    """Alpha of the first image of a TIFF, (height, width); None without. A fourth sample of no stated meaning is not alpha.

    Raises UserError.
    """
    try:
        with open_tiff(path) as file:
            series = slide_series(file, path)
            page = series.keyframe
            if page.samplesperpixel != 4 or page.extrasamples[:1] == (_UNSPECIFIED,):
                return None
            samples = series.asarray()
            return samples[3] if page.planarconfig == 2 else samples[..., 3]
    except UserError:
        raise
    except Exception as error:  # tifffile and its decoders raise many kinds
        raise UserError(f"the {what} is damaged ({error})", path, "Copy it again.") from None


def refuse_turned(orientation: int, path: Path, what: str) -> None:
    """Raises UserError for a picture that is to be shown turned or mirrored: whether its partner is, nobody can tell."""
    if orientation not in UPRIGHT:
        raise UserError(
            f"the {what} says that it is to be shown turned (EXIF orientation {orientation})",
            path,
            "Turn its pixels and remove the tag, so that images and masks agree: mogrify -auto-orient.",
        )


_PILLOW_BITS = {"1": 1, "L": 8}
_CORE = 12  # bytes of the header of OS/2


def is_misread_by_pillow(path: Path, mode: str) -> bool:
    """mode: as Pillow names it."""
    return mode in _PILLOW_BITS and _Head(path).bits != _PILLOW_BITS[mode]


def palette_numbers(path: Path) -> np.ndarray:
    """Entries of the palette, uint8 (height, width). Raises UserError."""
    head = _Head(path)
    if head.compression or head.bits not in (1, 4, 8):
        what = f"the mask is a BMP of {head.bits} bits a pixel (compression {head.compression})"
        raise UserError(what, path, "Export it as PNG or TIFF.")
    stride = -(-head.width * head.bits // 32) * 4
    data = path.read_bytes()[head.start : head.start + stride * head.height]
    if len(data) < stride * head.height:
        raise UserError("the mask ends too early", path, "Copy it again.")
    rows = np.frombuffer(data, np.uint8).reshape(head.height, stride)
    if head.bits < 8:
        bits = np.unpackbits(rows, axis=1).reshape(head.height, -1, head.bits)
        rows = (bits << np.arange(head.bits - 1, -1, -1, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)
    rows = rows[:, : head.width]
    return np.ascontiguousarray(rows if head.is_top_down else rows[::-1])


class _Head:
    """What the header says. start: of the pixels in the file, bytes. width, height: px. bits: of a pixel."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            data = file.read(34).ljust(34, b"\0")
        self.start, length = struct.unpack("<II", data[10:18])
        if length == _CORE:
            self.width, height, _, self.bits = struct.unpack("<HHHH", data[18:26])
            self.compression = 0
        else:
            self.width, height, _, self.bits, self.compression = struct.unpack("<iiHHI", data[18:34])
        self.height, self.is_top_down = abs(height), height < 0
