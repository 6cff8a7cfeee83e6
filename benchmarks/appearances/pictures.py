"""The pictures that are compared: phantoms drawn here, and real slides from a folder."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from openslide import OpenSlide, OpenSlideError

from shards.phantom import PhantomConfig
from shards.phantom.appearances import DEV, FINAL
from shards.phantom.draw import render
from shards.phantom.layout import plan
from shards.phantom.table import rows

_CROP_PX = 1400
_TILE_PX = 320
_COLUMNS = 5


def phantoms() -> Iterator[tuple[str, np.ndarray]]:
    """Name -> the middle of level 0 at about 1 µm/px, uint8 RGB: train slides, then a layout in every appearance."""
    config = PhantomConfig(
        train=8, val=0, test=0, dev_unseen=1, final_unseen=1, dev_appearances=tuple(DEV), final_appearances=tuple(FINAL)
    )
    for row in rows(config):
        picture = render(row.specimen, plan(row.specimen))
        first = (picture.shape[0] - _CROP_PX) // 2
        yield row.specimen.name, picture[first : first + _CROP_PX, first : first + _CROP_PX]


def real_slides(folder: Path) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, level 0 (at most 6,000 px a side), µm/px; a file that does not say its µm/px is left out."""
    for path in sorted(folder.rglob("*.svs")) + sorted(folder.rglob("*.tif")):
        found = _with_openslide(path) or _with_tifffile(path)
        if found is not None:
            yield path.name, *found


def _with_openslide(path: Path) -> tuple[np.ndarray, float] | None:
    try:
        with OpenSlide(path) as slide:
            mpp = float(slide.properties["openslide.mpp-x"])
            width, height = (min(6000, length) for length in slide.dimensions)
            return np.array(slide.read_region((0, 0), 0, (width, height)).convert("RGB")), mpp
    except (OpenSlideError, KeyError):
        return None


def _with_tifffile(path: Path) -> tuple[np.ndarray, float] | None:
    try:
        with tifffile.TiffFile(path) as tiff:
            found = tiff.ome_metadata
            image = tiff.asarray()
        if not found or "PhysicalSizeX=" not in found:
            return None
        mpp = float(found.split('PhysicalSizeX="')[1].split('"')[0])
    except (OSError, ValueError, tifffile.TiffFileError):
        return None
    image = image if image.shape[-1] == 3 else np.moveaxis(image, 0, -1)
    return np.ascontiguousarray(image[..., :3]), mpp


def sheet(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """All of them side by side, 320 µm of each, with their names."""
    tiles = []
    for name, picture in pictures.items():
        first = (picture.shape[0] - 2 * _TILE_PX) // 2
        tile = picture[first : first + 2 * _TILE_PX, first : first + 2 * _TILE_PX]
        tile = cv2.resize(tile, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA)
        cv2.rectangle(tile, (0, 0), (_TILE_PX, 20), (255, 255, 255), -1)
        cv2.putText(tile, name, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    return np.concatenate(
        [np.concatenate(tiles[first : first + _COLUMNS], 1) for first in range(0, len(tiles), _COLUMNS)]
    )
