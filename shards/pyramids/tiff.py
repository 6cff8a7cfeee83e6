"""TIFF files decoded segment by segment with tifffile: OME-TIFF, striped TIFF, which OpenSlide refuses, label masks, and
slides of plain tiles (see opening.py).
"""

import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile

from mlseg_core.errors import UserError
from shards.pyramids.ome import stated_mpp
from shards.pyramids.pyramid import LevelPixels, Unreadable
from shards.pyramids.series import (
    Level,
    colour_levels,
    mask_levels,
    open_tiff,
    series_images,
    slide_series,
)

_JPEG = {6, 7, 33007, 34892}  # compressions
_MOST_SEGMENT_BYTES = 1 << 30
_DAMAGED = (
    tifffile.TiffFileError, OSError, ValueError, LookupError, TypeError, SyntaxError, struct.error, AttributeError,
    RuntimeError,
)  # fmt: skip


class TiffPyramid:
    """A Pyramid (see there) over the slide in a TIFF (see series.py). channels: 3 for slides, 1 for masks.

    lossy: one channel may be compressed as JPEG, because it is grey and not a mask.
    series: the number of the image that was taken, of all that the file holds. Keeps at most `cache_bytes` of decoded
    segments (tiles or strips). Raises UserError.
    """

    def __init__(self, path: Path, cache_bytes: int = 64 << 20, channels: int = 3, lossy: bool = False) -> None:
        self._path, self._budget, self._channels, self._lossy = path, cache_bytes, channels, lossy
        self._segments: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self._held = 0
        try:
            self._file = open_tiff(path)
        except _DAMAGED as error:
            raise _not_opened(error, path) from None
        try:
            self._open()
        except UserError:
            self._file.close()
            raise
        except _DAMAGED as error:
            self._file.close()
            raise _not_opened(error, path) from None

    def _open(self) -> None:
        file, path = self._file, self._path
        if not file.series:
            raise UserError("the TIFF holds no pixels that can be read", path, "Restore the file or drop its row.")
        series = slide_series(file, path) if self._channels == 3 else file.series[0]
        images = series_images(file, series)
        if self._channels == 3:
            self._levels = colour_levels(series, images, path)
        else:
            self._levels = mask_levels(series, path, self._lossy)
        page = self._levels[0].page
        if page.dtype is None:
            raise UserError("the TIFF holds no pixels that can be read", path, "Restore the file or drop its row.")
        if any(_segment_bytes(level.page) > _MOST_SEGMENT_BYTES for level in self._levels):
            raise UserError("the TIFF has strips of over 1 GiB", path, "Convert it to a tiled TIFF.")
        for level in self._levels:
            _refuse_missing(level, path)
        if max(map(_end, self._levels)) > path.stat().st_size:
            raise UserError("the TIFF is cut short: its pixels end beyond the file", path, "Copy it again.")
        self.series = file.series.index(series)
        self.sizes = [(level.page.imagewidth, level.page.imagelength) for level in self._levels]
        self.mpp = stated_mpp(file, page, images)
        self.properties = {"openslide.vendor": "ome-tiff" if file.is_ome else "tiff"}
        self.tile_height = _segment_size(page)[1]

    @property
    def is_complete(self) -> bool:
        """Every level lies in tiles of whole pixels, and none of them was left out."""
        return all(
            level.page.is_tiled and len(level.planes) == 1 and not self.leaves_out(number)
            for number, level in enumerate(self._levels)
        )

    def leaves_out(self, level: int) -> bool:
        """Whether some segments of a level lie nowhere in the file."""
        pages = [page for page, _ in self._levels[level].planes]
        return not all(all(page.databytecounts) and all(page.dataoffsets) for page in pages)

    def read(self, level: int, first: tuple[int, int], size: tuple[int, int]) -> LevelPixels:
        covered = np.ones((size[1], size[0]), bool)
        rgb = self.pixels(level, first, size, covered)
        return LevelPixels(rgb, None if covered.all() else covered, (float(first[0]), float(first[1])))

    def pixels(
        self, level: int, first: tuple[int, int], size: tuple[int, int], covered: np.ndarray | None = None
    ) -> np.ndarray:
        """Pixels [first, first + size) of a level: uint8 RGB (height, width, 3), or numbers (height, width). Raises Unreadable.

        covered: bool (height, width); becomes False where the file leaves segments out, and where alpha is 0.
        """
        page = self._levels[level].page
        tile_width, tile_height = _segment_size(page)
        across = -(-page.imagewidth // tile_width)
        shape = (size[1], size[0], 3) if self._channels == 3 else (size[1], size[0])
        out = np.empty(shape, page.dtype)
        right, bottom = first[0] + size[0], first[1] + size[1]
        for row in range(first[1] // tile_height, -(-bottom // tile_height)):
            for column in range(first[0] // tile_width, -(-right // tile_width)):
                segment = self._segment(level, row * across + column)
                x, y = column * tile_width, row * tile_height
                x0, y0 = max(x, first[0]), max(y, first[1])
                x1, y1 = min(x + tile_width, right), min(y + tile_height, bottom)
                target = slice(y0 - first[1], y1 - first[1]), slice(x0 - first[0], x1 - first[0])
                if segment is None:
                    out[target] = 255 if self._channels == 3 else 0
                    if covered is not None:
                        covered[target] = False
                    continue
                part = segment[y0 - y : y1 - y, x0 - x : x1 - x]
                out[target] = part[..., :3] if self._channels == 3 else part
                if covered is not None and part.shape[2:] == (4,):
                    covered[target] = part[..., 3] > 0
        return out

    def _segment(self, level: int, index: int) -> np.ndarray | None:
        """A tile or strip, decoded; None when the file leaves it out."""
        key = (level, index)
        if key in self._segments:
            self._segments.move_to_end(key)
            return self._segments[key]
        planes = [self._decoded(level, index, number) for number in range(len(self._levels[level].planes))]
        segment: np.ndarray | None = None
        if all(plane is None for plane in planes):
            pass
        elif any(plane is None for plane in planes):
            raise Unreadable(f"level {level}, segment {index}: one of its planes is missing")
        elif (colours := self._levels[level].colours) is None:
            segment = planes[0][0, ..., 0]  # type: ignore[index]
        elif len(planes) == 1:
            segment = colours(planes[0][0])  # type: ignore[index]
        else:
            segment = colours(np.stack([plane[0, ..., 0] for plane in planes if plane is not None], axis=-1))
        self._segments[key] = segment
        self._held += 0 if segment is None else segment.nbytes
        while self._held > self._budget and len(self._segments) > 1:
            dropped = self._segments.popitem(last=False)[1]
            self._held -= 0 if dropped is None else dropped.nbytes
        return segment

    def _decoded(self, level: int, index: int, plane: int) -> np.ndarray | None:
        """One plane of a segment, (1, height, width, samples); None when the file leaves it out."""
        keyframe = self._levels[level].page
        page, start = self._levels[level].planes[plane]
        number = start + index
        try:
            if not page.databytecounts[number] or not page.dataoffsets[number]:
                return None
            self._file.filehandle.seek(page.dataoffsets[number])
            data = self._file.filehandle.read(page.databytecounts[number])
            if keyframe.compression in _JPEG:
                check_jpeg(data, page.jpegtables)
            return keyframe.decode(data, number, jpegtables=page.jpegtables)[0]
        except Exception as error:  # codecs raise many kinds
            raise Unreadable(f"level {level}, segment {index}: {error}") from None

    def close(self) -> None:
        self._segments.clear()  # now, and not when somebody's last reference goes
        self._file.close()


def _not_opened(error: Exception, path: Path) -> UserError:
    return UserError(f"the TIFF cannot be opened ({error})", path, "Restore the file or drop its row.")


def _end(level: Level) -> int:
    pages = [page for page, _ in level.planes]
    return max(
        offset + count for page in pages for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )


def _refuse_missing(level: Level, path: Path) -> None:
    """Raises UserError for a level that lists fewer tiles or strips than its size needs."""
    width, height = _segment_size(level.page)
    if width < 1 or height < 1:
        raise UserError("the TIFF's tiles or strips have no pixels", path, "Restore the file or drop its row.")
    needed = -(-level.page.imagewidth // width) * -(-level.page.imagelength // height)
    for page, start in level.planes:
        listed = min(len(page.dataoffsets), len(page.databytecounts)) - start
        if listed < needed:
            what = f"the TIFF lists {listed} tiles or strips, and its size needs {needed}"
            raise UserError(what, path, "Restore the file or drop its row.")


def _segment_size(page: tifffile.TiffPage) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, page.rowsperstrip


def _segment_bytes(page: tifffile.TiffPage) -> int:
    width, height = _segment_size(page)
    return width * height * page.samplesperpixel * page.bitspersample // 8


_START, _END = b"\xff\xd8", b"\xff\xd9"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, coded by Huffman
_MARKERS_OF_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_jpeg(data: bytes, tables: bytes | None) -> None:
    """Raises ValueError, with libjpeg's words, for a JPEG at which libjpeg warns; OpenSlide refuses those too.

    tables: the JPEGTables of the TIFF. Reads all of the entropy-coded data, but makes an image of an eighth of the size
    only. Lossless, arithmetic-coded and 12-bit JPEGs, which another decoder reads, are not checked.
    """
    if not data.startswith(_START) or not _is_8_bit_huffman(data):
        return
    if tables and tables.startswith(_START):
        end = tables.rfind(_END)
        data = _START + tables[2 : end if end > 0 else None] + data[2:]
    colours = simplejpeg.decode_jpeg_header(data)[2]
    wanted = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colours, "RGB")
    simplejpeg.decode_jpeg(data, wanted, fastdct=True, fastupsample=True, min_height=1, min_width=1, strict=True)


def _is_8_bit_huffman(data: bytes) -> bool:
    """By the header of the frame."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _MARKERS_OF_FRAMES:
            return marker in _FRAMES and data[at + 4] == 8
        if marker == 0xFF:  # fill bytes
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True
