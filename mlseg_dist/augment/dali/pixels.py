"""Colour and noise as DALI nodes; images are uint8 (P, P, 3) in and out.

A node is a pass over memory, so there are few: a linear step is one matrix (coord_transform, which also rounds and clips),
any other function of one or two bytes is one constant table (lookup_table; reinterpret makes 16-bit keys of two bytes).
"""

from collections.abc import Sequence

import numpy as np
from nvidia.dali import fn, math
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import DALIDataType

from mlseg_dist.augment.dali import tables
from mlseg_dist.augment.dali.recipe import Clahes
from mlseg_dist.augment.parameters import StainShift

_BYTE, _WORD = DALIDataType.UINT8, DALIDataType.UINT16


def shift_stains(
    image: DataNode, matrices: Sequence[DataNode], groups: Sequence[tuple[StainShift, ...]], patch_px: int
) -> DataNode:
    """mlseg_dist.augment.cpu.shift_stains, but that S and V are clipped after all stains of a group, not after each.

    matrices: inputs.stain_matrix() of each group.
    """
    value = fn.reductions.max(image, axes=[2], keep_dims=True)
    below = value - image
    chroma = fn.reductions.max(below, axes=[2], keep_dims=True)
    below = below / math.max(chroma, 1)  # float: 0 for the greatest of R, G and B, 1 for the least
    circle = fn.coord_transform(below, MT=_flat(tables.CIRCLE))
    hue = _table(_key(fn.cast(circle, dtype=_BYTE), patch_px), tables.hue())
    saturation = _table(_key(_cat(value, chroma), patch_px), tables.saturation())
    key, shifted = _key(_cat(hue, saturation), patch_px), _cat(saturation, value)
    for number, stains in enumerate(groups):
        pairs = [stains[at : at + 2] for at in range(0, len(stains), 2)]
        weights = [_weights(key, value, pair, patch_px) for pair in pairs]
        shifted = fn.coord_transform(_cat(shifted, *weights), MT=matrices[number], dtype=_BYTE)
    chroma = _table(_key(shifted, patch_px), tables.chroma())
    return fn.cast(shifted[:, :, 1:2] - chroma * below, dtype=_BYTE)


def _weights(key: DataNode, value: DataNode, pair: Sequence[StainShift], patch_px: int) -> DataNode:
    """uint8 (P, P, 2): how much a pixel belongs to each of one or two stains. key: hue and S."""
    weights = _bytes(_table(key, tables.stain_weights(pair), _WORD), patch_px)
    if all(stain.dark is None for stain in pair):
        return weights
    dark = _bytes(_table(value, tables.dark_weights(pair), _WORD), patch_px)
    return math.min(weights, dark)


def recolour(image: DataNode, matrix: DataNode) -> DataNode:
    """matrix: (3, 4)."""
    return fn.coord_transform(image, MT=matrix, dtype=_BYTE)


def gamma(image: DataNode, exponent: DataNode, scale: DataNode) -> DataNode:
    """scale: 255^(1 − exponent)."""
    return fn.brightness_contrast(math.pow(image, exponent), brightness=scale, dtype=_BYTE)


def clahe(
    image: DataNode, drawn: DataNode, matrix: DataNode, low: DataNode | None, kinds: Sequence[Clahes]
) -> DataNode:
    """On L of CIELAB, a and b kept. It is costly and seldom drawn: other views pass it by, and each view gets its own tiles.

    drawn, low: bool, whether a view drew it and whether it is the low one (None: all have the same tiles).
    matrix: inputs.clahe_matrix().
    """
    if drawn:
        image = _with_equal_lightness(image, matrix, low, kinds)
    return image


def _with_equal_lightness(image: DataNode, matrix: DataNode, low: DataNode | None, kinds: Sequence[Clahes]) -> DataNode:
    light = fn.coord_transform(_table(image, tables.light(), _WORD), M=_flat(tables.XYZ), dtype=_WORD)
    roots = _table(light, tables.roots(), _WORD)
    steps = fn.coord_transform(
        _table(image, tables.light_steps(), _WORD), MT=_flat(tables.LUMINANCE[None]), dtype=_WORD
    )
    lightness = _table(steps, tables.lightness())
    if low is None:
        change = _equalised(lightness, matrix, kinds[0])
    elif low:
        change = _equalised(lightness, matrix, kinds[1])
    else:
        change = _equalised(lightness, matrix, kinds[0])
    tall = _table(fn.cast(roots + change, dtype=_WORD), tables.cubes(), _WORD)
    back = np.linalg.inv(tables.XYZ) * tables.LIGHT / tables.TALL
    return _table(fn.coord_transform(tall, M=_flat(back), dtype=_WORD), tables.grey())


def _equalised(lightness: DataNode, matrix: DataNode, kind: Clahes) -> DataNode:
    """float (P, P, 1): what CLAHE adds to the roots of X, Y and Z."""
    parts, kept, end = [], [lightness], 0
    for chunk in kind.chunks:
        equal = [
            fn.clahe(lightness, tiles_x=kind.tiles, tiles_y=kind.tiles, clip_limit=kind.clip(limit)) for limit in chunk
        ]
        begin, end = end, end + len(kept) + len(equal) + 1
        part = matrix if len(kind.chunks) == 1 else matrix[:, begin:end]
        parts.append(fn.coord_transform(_cat(*kept, *equal), MT=part))
        kept = []
    change = parts[0]
    for part in parts[1:]:
        change = change + part
    return change


def add_noise(image: DataNode, window: DataNode, matrix: DataNode) -> DataNode:
    """window: uint8 (P, P, 3) of bank.normals(). matrix: inputs.noise_matrix()."""
    return fn.coord_transform(_cat(image, window), MT=matrix, dtype=_BYTE)


def add_shot_noise(image: DataNode, window: DataNode, matrix: DataNode, patch_px: int) -> DataNode:
    """As add_noise, but that noise falls with the root of the light."""
    key = fn.reinterpret(fn.stack(image, window, axis=3), shape=[patch_px, patch_px, 3], dtype=_WORD, layout="HWC")
    return add_noise(image, _table(key, tables.shot()), matrix)


def _cat(*parts: DataNode) -> DataNode:
    return fn.cat(*parts, axis=2)


def _key(pair: DataNode, patch_px: int) -> DataNode:
    """uint16 (P, P, 1) of uint8 (P, P, 2)."""
    return fn.reinterpret(pair, shape=[patch_px, patch_px, 1], dtype=_WORD, layout="HWC")


def _bytes(words: DataNode, patch_px: int) -> DataNode:
    """uint8 (P, P, 2) of uint16 (P, P, 1)."""
    return fn.reinterpret(words, shape=[patch_px, patch_px, 2], dtype=_BYTE, layout="HWC")


def _table(keys: DataNode, table: np.ndarray, dtype: DALIDataType = _BYTE) -> DataNode:
    return fn.lookup_table(keys, keys=list(range(len(table))), values=table.astype(float).tolist(), dtype=dtype)


def _flat(matrix: np.ndarray) -> list[float]:
    return matrix.ravel().tolist()
