"""Rows of a map, from the top -> an OME-TIFF pyramid that QuPath, Bio-Formats and tifffile open.

An OME-TIFF holds one channel after the other, and each level after the finer one, while rows come with all channels at once. So a
thread compresses tiles as rows come and keeps them in a nameless file beside the target; at the end they are put in order. Memory
holds a row of tiles of each level. The same rows give the same bytes.
"""

import tempfile
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import tifffile

TILE = 256
SMALLEST = 512
"""The coarsest level is at most so many cells long."""
OVERVIEW = 2048
"""The finest level that is at most so many cells long is kept in memory, for pictures."""
_AHEAD = 2
_IN_MEMORY = 32 << 20
_BIG = 1 << 31  # bytes of tiles from which a TIFF of 32-bit offsets might not do
_NAMESPACE = uuid.UUID("6c1d9f62-4f0c-5a0e-9a57-9c2d6b3f9d11")

Shrink = Callable[[np.ndarray], np.ndarray]
"""uint8 (2 h, 2 w, channels) -> (h, w, channels)."""


@dataclass(frozen=True)
class Content:
    """What a map's channels are. channels: name -> #rrggbb. palette: value -> #rrggbb, for one channel of class numbers.

    notes: kept in the file as key and value. shrink: how a level becomes the next, half its size.
    """

    name: str
    channels: Mapping[str, str]
    shrink: Shrink
    palette: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def pick(cells: np.ndarray) -> np.ndarray:
    """Every second cell: class numbers have no mean."""
    return cells[::2, ::2]


def average(cells: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 cells, rounded."""
    parts = [cells[y::2, x::2].astype(np.uint16) for y in (0, 1) for x in (0, 1)]
    sums = parts[0] + parts[1] + parts[2] + parts[3]
    return ((sums + 2) >> 2).astype(np.uint8)


class OmePyramid:
    """Writes one map. add rows, then finish or give_up."""

    def __init__(self, path: Path, size: tuple[int, int], cell_um: float, content: Content) -> None:
        """size: rows and columns of cells. path: a temporary one; it is whole after finish, and nobody syncs it here."""
        self._path, self._size, self._cell_um, self._content = path, size, cell_um, content
        spool = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(path.parent))  # noqa: SIM115  (closed by give_up)
        self._spool = cast(BinaryIO, spool)
        self._levels = _levels(size, len(content.channels), content.shrink, self._spool)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="map")
        self._pending: deque[Future[None]] = deque()
        self._missing = size[0]

    def add(self, rows: np.ndarray) -> None:
        """uint8 (h, columns, channels), copied. Raises what an earlier part raised (OSError)."""
        self._missing -= len(rows)
        self._pending.append(self._worker.submit(self._levels[0].add, rows.copy()))
        while len(self._pending) > _AHEAD:
            self._pending.popleft().result()

    def finish(self) -> None:
        """Raises OSError."""
        try:
            while self._pending:
                self._pending.popleft().result()
            if self._missing:
                raise AssertionError(f"{self._missing} rows of the map did not come")
            self._levels[0].finish()
            self._write()
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Ends the thread; what was written stays where it is."""
        self._worker.shutdown(cancel_futures=True)
        self._spool.close()

    @property
    def overview(self) -> np.ndarray:
        """The level for pictures, uint8 (h, w, channels); whole after finish."""
        return next(level.kept for level in self._levels if level.kept is not None)

    def _write(self) -> None:
        channels = len(self._content.channels)
        stored = sum(length for level in self._levels for tiles in level.tiles for _, length in tiles)
        options: dict[str, Any] = {
            "dtype": np.uint8,
            "tile": (TILE, TILE),
            "compression": "adobe_deflate",
            "software": "mlseg",
            "maxworkers": 1,
            "photometric": "palette" if self._content.palette else "minisblack",
            **({"colormap": _colormap(self._content.palette)} if self._content.palette else {}),
        }
        with tifffile.TiffWriter(self._path, bigtiff=stored > _BIG, ome=True) as tiff:
            for number, level in enumerate(self._levels):
                first = {"subifds": len(self._levels) - 1, "metadata": self._metadata()}
                tiff.write(
                    self._stored(level),
                    shape=(channels, *level.size) if channels > 1 else level.size,
                    resolution=(1e4 / self._cell_um / 2**number, 1e4 / self._cell_um / 2**number),
                    resolutionunit="CENTIMETER",
                    **options,
                    **(first if number == 0 else {"subfiletype": 1, "metadata": None}),
                )

    def _stored(self, level: "_Level") -> Iterator[bytes]:
        for tiles in level.tiles:
            for offset, length in tiles:
                self._spool.seek(offset)
                yield self._spool.read(length)

    def _metadata(self) -> dict[str, Any]:
        content = self._content
        seed = f"{content.name} {self._size} {self._cell_um!r} {dict(content.channels)} {dict(content.notes)}"
        return {
            "axes": "CYX" if len(content.channels) > 1 else "YX",
            "UUID": f"urn:uuid:{uuid.uuid5(_NAMESPACE, seed)}",
            "Creator": "mlseg",
            "Name": content.name,
            "PhysicalSizeX": self._cell_um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": self._cell_um,
            "PhysicalSizeYUnit": "µm",
            "Channel": {"Name": list(content.channels), "Color": [ome_colour(c) for c in content.channels.values()]},
            **({"MapAnnotation": {"Namespace": "mlseg", **content.notes}} if content.notes else {}),
        }


@dataclass
class _Level:
    """One level. tiles: of each channel, where its compressed tiles lie in the spool. kept: all of it, or None."""

    size: tuple[int, int]
    channels: int
    shrink: Shrink
    spool: BinaryIO
    coarser: "_Level | None"
    kept: np.ndarray | None

    def __post_init__(self) -> None:
        self.tiles: list[list[tuple[int, int]]] = [[] for _ in range(self.channels)]
        self._band = np.zeros((TILE, -(-self.size[1] // TILE) * TILE, self.channels), np.uint8)
        self._filled, self._top = 0, 0

    def add(self, rows: np.ndarray) -> None:
        rows = rows[: self.size[0] - self._top - self._filled]
        while len(rows):
            part = rows[: TILE - self._filled]
            self._band[self._filled : self._filled + len(part), : part.shape[1]] = part
            self._filled += len(part)
            rows = rows[len(part) :]
            if self._filled == TILE:
                self._flush()

    def finish(self) -> None:
        if self._filled:
            self._flush()
        if self.coarser is not None:
            self.coarser.finish()

    def _flush(self) -> None:
        self._band[self._filled :] = 0
        for channel, tiles in enumerate(self.tiles):
            for left in range(0, self._band.shape[1], TILE):
                data = zlib.compress(self._band[:, left : left + TILE, channel].tobytes(), 6)
                tiles.append((self.spool.seek(0, 2), len(data)))
                self.spool.write(data)
        rows = self._band[: self._filled, : self.size[1]]
        if self.kept is not None:
            self.kept[self._top : self._top + self._filled] = rows
        if self.coarser is not None:
            even = [(0, length % 2) for length in rows.shape[:2]]
            self.coarser.add(self.shrink(np.pad(rows, [*even, (0, 0)], mode="edge")))
        self._top += self._filled
        self._filled = 0


def _levels(size: tuple[int, int], channels: int, shrink: Shrink, spool: BinaryIO) -> Sequence[_Level]:
    """Finest first."""
    sizes = [size]
    while max(sizes[-1]) > SMALLEST:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    shown = next(number for number, one in enumerate(sizes) if max(one) <= OVERVIEW)
    levels: list[_Level] = []
    for number in reversed(range(len(sizes))):
        kept = np.zeros((*sizes[number], channels), np.uint8) if number == shown else None
        levels.append(_Level(sizes[number], channels, shrink, spool, levels[-1] if levels else None, kept))
    return levels[::-1]


def _colormap(palette: Mapping[int, str]) -> np.ndarray:
    """uint16 (3, 256); values that have no colour are black."""
    out = np.zeros((3, 256), np.uint16)
    for value, colour in palette.items():
        out[:, value] = [level * 257 for level in bytes.fromhex(colour[1:])]
    return out


def ome_colour(colour: str) -> int:
    """#rrggbb as OME has it: red, green, blue and alpha in a signed number of 32 bits."""
    return int.from_bytes([*bytes.fromhex(colour[1:]), 255], "big", signed=True)
