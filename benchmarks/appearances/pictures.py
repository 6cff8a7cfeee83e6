"""The phantoms that are compared, and a sheet that shows them."""

from collections.abc import Iterator

import cv2
import numpy as np

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
