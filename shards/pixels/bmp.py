"""BMPs of grey palettes. Pillow drops the palette and reads the numbers with 1 bit (two colours) or 8 bits (more), however many
bits the file says.
"""

import struct
from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError

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
