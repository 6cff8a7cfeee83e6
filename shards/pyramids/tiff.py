"""TIFF files decoded segment by segment with tifffile: OME-TIFF and striped TIFF, which OpenSlide refuses, label masks, and
slides of plain tiles (see tiles.py).
"""

import struct
from collections import OrderedDict
from pathlib import Path

import defusedxml.ElementTree
import numpy as np
import tifffile

from mlseg_core.errors import UserError
from shards.pyramids.pyramid import Part, Unreadable

_MOST_SEGMENT_BYTES = 1 << 30
_UM = {"µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_RESOLUTION_UNIT_UM = {2: 25400.0, 3: 10000.0}  # TIFF ResolutionUnit: inch, centimetre
_DAMAGED = (tifffile.TiffFileError, OSError, ValueError, LookupError, TypeError, SyntaxError, struct.error)


class TiffPyramid:
    """A Pyramid (see there) over the first series of a TIFF. channels: 3 for slides, 1 for masks.

    Holds at most `cache_bytes` of decoded segments (tiles or strips). Raises UserError.
    """

    def __init__(self, path: Path, cache_bytes: int = 64 << 20, channels: int = 3) -> None:
        self._path, self._budget = path, cache_bytes
        try:
            self._file = tifffile.TiffFile(path)
            levels = [level.keyframe for level in self._file.series[0].levels]
        except _DAMAGED as error:
            raise UserError(f"the TIFF cannot be opened ({error})", path, "Restore the file or drop its row.") from None
        self._pages = levels
        page = levels[0]
        if page.dtype is None or not all(page.dataoffsets for page in levels):
            raise UserError("the TIFF holds no pixels that can be read", path, "Restore the file or drop its row.")
        if page.samplesperpixel not in ((3, 4) if channels == 3 else (1,)) or page.planarconfig != 1:
            what = (
                f"the TIFF has {page.samplesperpixel} channels of {page.dtype}, not {'RGB' if channels == 3 else 'one'}"
            )
            raise UserError(what, path, "Export it as an 8-bit RGB image." if channels == 3 else "Export one channel.")
        if page.dtype.kind != "u" or (channels == 3 and page.dtype != np.uint8):
            raise UserError(f"the TIFF holds {page.dtype}, not 8-bit pixels", path, "Export it with 8 bits a channel.")
        if any(_segment_bytes(level) > _MOST_SEGMENT_BYTES for level in levels):
            raise UserError("the TIFF has strips of over 1 GiB", path, "Convert it to a tiled TIFF.")
        end = max(offset + count for level in levels for offset, count in zip(*_extents(level), strict=True))
        if end > path.stat().st_size:
            raise UserError("the TIFF is cut short: its pixels end beyond the file", path, "Copy it again.")
        self._channels = channels
        self.sizes = [(level.imagewidth, level.imagelength) for level in levels]
        self.mpp = _ome_mpp(self._file) if self._file.is_ome else _tag_mpp(page)
        self.properties = {"openslide.vendor": "ome-tiff" if self._file.is_ome else "tiff"}
        self.tile_height = _segment_size(page)[1]
        self._segments: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._held = 0

    @property
    def is_complete(self) -> bool:
        """Every level lies in tiles, and none of them was left out."""
        return all(page.is_tiled and all(page.databytecounts) for page in self._pages)

    def read(self, level: int, first: tuple[int, int], size: tuple[int, int]) -> Part:
        return Part(self.pixels(level, first, size), None, (float(first[0]), float(first[1])))

    def pixels(self, level: int, first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """Pixels [first, first + size) of a level, (height, width[, 3]) as stored. Raises Unreadable."""
        page = self._pages[level]
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
                x1, y1 = min(x + segment.shape[1], right), min(y + segment.shape[0], bottom)
                source = segment[y0 - y : y1 - y, x0 - x : x1 - x]
                out[y0 - first[1] : y1 - first[1], x0 - first[0] : x1 - first[0]] = source
        return out

    def _segment(self, level: int, index: int) -> np.ndarray:
        key = (level, index)
        if key in self._segments:
            self._segments.move_to_end(key)
            return self._segments[key]
        page = self._pages[level]
        try:
            self._file.filehandle.seek(page.dataoffsets[index])
            data = self._file.filehandle.read(page.databytecounts[index])
            decoded = page.decode(data, index, jpegtables=page.jpegtables)[0]
        except Exception as error:  # codecs raise many kinds
            raise Unreadable(f"level {level}, segment {index}: {error}") from None
        if decoded is None:  # a sparse tile that was never written
            width, height = _segment_size(page)
            decoded = np.full((1, height, width, page.samplesperpixel), 255 if self._channels == 3 else 0, page.dtype)
        segment = decoded[0, ..., :3] if self._channels == 3 else decoded[0, ..., 0]
        self._segments[key] = segment
        self._held += segment.nbytes
        while self._held > self._budget and len(self._segments) > 1:
            self._held -= self._segments.popitem(last=False)[1].nbytes
        return segment

    def close(self) -> None:
        self._segments.clear()  # now, and not when somebody's last reference goes
        self._file.close()


def _extents(page: tifffile.TiffPage) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return page.dataoffsets, page.databytecounts


def _segment_size(page: tifffile.TiffPage) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, page.rowsperstrip


def _segment_bytes(page: tifffile.TiffPage) -> int:
    width, height = _segment_size(page)
    return width * height * page.samplesperpixel * page.bitspersample // 8


def _ome_mpp(file: tifffile.TiffFile) -> tuple[float, float] | None:
    """PhysicalSizeX and Y of the first image, whose default unit is µm."""
    try:
        pixels = defusedxml.ElementTree.fromstring(file.ome_metadata or "").find(".//{*}Pixels")
        if pixels is None:
            return None
        sizes = [
            float(pixels.attrib[f"PhysicalSize{axis}"]) * _UM[pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "XY"
        ]
    except (SyntaxError, ValueError, KeyError):
        return None
    return sizes[0], sizes[1]


def _tag_mpp(page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = _RESOLUTION_UNIT_UM.get(page.tags.valueof("ResolutionUnit", 1))
    sizes = [page.tags.valueof(name, (0, 1)) for name in ("XResolution", "YResolution")]
    if unit is None or any(not count or not per for count, per in sizes):
        return None
    return unit * sizes[0][1] / sizes[0][0], unit * sizes[1][1] / sizes[1][0]
