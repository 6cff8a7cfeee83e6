"""Label masks: a PNG or TIFF of whole numbers that covers the slide, at any scale, read where a view lies.

Only level 0 of a pyramid is used: coarser levels of masks are often averaged into classes that nobody drew.
"""

import hashlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from shards.annotation.extent import OffSlide
from shards.annotation.fitting import fit_mask
from shards.annotation.interface import EXCLUDED_PX, UNLABELLED
from shards.annotation.origin import Frame
from shards.config import EXCLUDED, ShardsConfig
from shards.pixels.masks import VALUES, MaskPixels, open_mask

_BLOCK = 4096  # mask px a side that are read at once
_BAND = 1 << 26  # mask px that are read at once for the scan
_COUNTED = 1 << 21  # of them, counted at once


class LabelMask:
    """An Annotation (see there) drawn as pixels. A view's pixel takes the value of the mask pixel its centre lies in."""

    def __init__(self, path: Path, config: ShardsConfig, frame: Frame) -> None:
        """Scans the whole mask once. frame: the slide that it covers, all of it or its bounds. Raises UserError."""
        self.ignored: Counter[str] = Counter()
        self._pixels, self._slide = open_mask(path), frame.size
        fit = fit_mask(self._pixels.size, frame, path)
        self._scale, self.placement = fit.scale, fit.placement
        self._fine_of = _fine_of(config)
        counts, box = _scan(self._pixels, self._fine_of)
        _refuse_unmapped(counts, config, path)
        meant = {value: int(self._fine_of[value]) for value in counts if self._fine_of[value] != UNLABELLED}
        self._drawn = sorted(set(meant.values()))
        self.fine = frozenset(self._drawn) - {EXCLUDED_PX}
        named = dict(enumerate(config.fine_classes)) | {EXCLUDED_PX: EXCLUDED}
        names = sorted((value, named[fine]) for value, fine in meant.items())
        offset = self.placement.offset
        moved = "" if offset == (0.0, 0.0) else str(offset)  # a mask of level 0 keeps the digest that it always had
        self.digest = hashlib.sha256(f"{sha256_file(path)}{names}{moved}".encode()).hexdigest()
        self.bounds = box and tuple(np.add(np.multiply(box, (*self._scale, *self._scale)), (*offset, *offset)).tolist())

    def label(self, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
        label = np.full((size[1], size[0]), UNLABELLED, np.uint8)
        begin = [corner[axis] - self.placement.offset[axis] for axis in (0, 1)]
        columns, rows = (
            np.floor((begin[axis] + (np.arange(size[axis]) + 0.5) * step[axis]) / self._scale[axis]) for axis in (0, 1)
        )
        for y0, y1 in _blocks(rows, self._pixels.size[1]):
            for x0, x1 in _blocks(columns, self._pixels.size[0]):
                label[y0:y1, x0:x1] = self._picked(columns[x0:x1].astype(int), rows[y0:y1].astype(int))
        return label

    def off(self, scanned: tuple[float, float, float, float]) -> OffSlide:
        """Nothing: a mask covers its slide and no more."""
        return OffSlide()

    def _picked(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Fine ids at the crossings of mask columns and rows, both rising."""
        first = (int(columns[0]), int(rows[0]))
        part = self._pixels.read(first, (int(columns[-1]) + 1 - first[0], int(rows[-1]) + 1 - first[1]))
        return self._fine_of[part[np.ix_(rows - first[1], columns - first[0])]]

    def outlines(self, tolerance: float) -> list[tuple[int, np.ndarray]]:
        step = max(tolerance, *self._scale)
        label = self.label((0.0, 0.0), (step, step), (int(self._slide[0] / step), int(self._slide[1] / step)))
        found = []
        for fine in self._drawn:
            contours, _ = cv2.findContours((label == fine).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
            found += [(fine, (ring[:, 0].astype(float) + 0.5) * step) for ring in contours if len(ring) >= 3]
        return found


def mask_values(path: Path) -> dict[int, int]:
    """Value -> pixels of it in a mask. Raises UserError."""
    return _scan(open_mask(path), np.full(VALUES, UNLABELLED, np.uint8))[0]


def _fine_of(config: ShardsConfig) -> np.ndarray:
    """Table value -> fine id or EXCLUDED_PX, uint8 (65536,); UNLABELLED for values that lead to neither."""
    ids = {name: number for number, name in enumerate(config.fine_classes)} | {EXCLUDED: EXCLUDED_PX}
    table = np.full(VALUES, UNLABELLED, np.uint8)
    for value, name in config.mask_classes.items():
        if value.isdecimal() and int(value) < VALUES:
            table[int(value)] = ids.get(config.annotation_classes.get(name, ""), UNLABELLED)
    return table


def _refuse_unmapped(counts: dict[int, int], config: ShardsConfig, path: Path) -> None:
    missing = {str(value): count for value, count in counts.items() if str(value) not in config.mask_classes}
    missing.pop("0", None)
    if missing:
        listed = ", ".join(f"{value} ({count} px)" for value, count in missing.items())
        raise UserError(
            f"mask values that nobody mapped: {listed}", path, "Add them to mask_classes in configs/classes/."
        )
    names = {config.mask_classes[str(value)] for value in counts if str(value) in config.mask_classes}
    unmapped = sorted(names - set(config.annotation_classes))
    if unmapped:
        what = f"mask_classes leads to names that nobody mapped: {', '.join(map(repr, unmapped))}"
        raise UserError(what, path, "Add them to annotation_classes in configs/classes/.")


def _blocks(at: np.ndarray, length: int) -> list[tuple[int, int]]:
    """Slices of `at`, rising mask coordinates, that lie in [0, length) and span at most _BLOCK px each."""
    start, end = np.searchsorted(at, [0, length]).tolist()
    cuts = []
    while start < end:
        stop = min(end, int(np.searchsorted(at, at[start] + _BLOCK)))
        cuts.append((start, stop))
        start = stop
    return cuts


def _scan(pixels: MaskPixels, fine_of: np.ndarray) -> tuple[dict[int, int], tuple[int, int, int, int] | None]:
    """Value -> pixels of it, and the box x0, y0, x1, y1 of what has a fine class, mask px."""
    width, height = pixels.size
    has_class = fine_of < EXCLUDED_PX
    counts = np.zeros(VALUES, np.int64)
    boxes = []
    rows = min(pixels.band, max(1, _BAND // width))
    for y in range(0, height, rows):
        band = pixels.read((0, y), (width, min(rows, height - y)))
        few = max(1, _COUNTED // width)
        for part_y in range(0, len(band), few):
            part = band[part_y : part_y + few]
            found = np.bincount(part.reshape(-1))
            counts[: len(found)] += found
            if has_class[np.flatnonzero(found)].any():
                labelled = has_class[part]
                across, down = np.flatnonzero(labelled.any(axis=0)), np.flatnonzero(labelled.any(axis=1)) + y + part_y
                boxes.append((across[0], down[0], across[-1] + 1, down[-1] + 1))
    pixels_of = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    if not boxes:
        return pixels_of, None
    x0, y0 = np.min(boxes, axis=0)[:2].tolist()
    x1, y1 = np.max(boxes, axis=0)[2:].tolist()
    return pixels_of, (x0, y0, x1, y1)
