"""Colour and noise as DALI nodes; images are uint8 (P, P, 3) in and out."""

from collections.abc import Sequence

import numpy as np
from nvidia.dali import fn, math
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import DALIDataType

from mlseg_dist.augment import bank
from mlseg_dist.augment.dali.recipe import Clahes

_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_XYZ = _XYZ / _XYZ.sum(1, keepdims=True)
"""Linear sRGB -> X, Y, Z over those of white (D65)."""
_RGB = np.linalg.inv(_XYZ)
_KNEE = 6 / 29
_SLOPE = 1 / (3 * _KNEE**2)
_L8 = 2.55
"""L of 0 to 100 -> 0 to 255."""
_LIGHT_STEPS = 255.0 * 8
_LUMINANCE = [871 / 4096, 2929 / 4096, 296 / 4096]


def shift_stains(image: DataNode, stains: DataNode, count: int) -> DataNode:
    """mlseg_dist.augment.cpu.shift_stains; hue stays exact here, there it is one of 256.

    stains: inputs.sources()["stains"].
    """
    rgb = fn.cast(image, dtype=DALIDataType.FLOAT)
    value, least = _extremes(rgb)
    chroma = value - least
    degrees = _hue(rgb, value, chroma) * (360 / 256)
    saturation = math.floor(255 * chroma / math.max(value, 1) + 0.5)
    new_saturation, new_value = saturation, value
    for number in range(count):
        middle, half, edge, none, slope, more_saturation, more_value = (stains[number, part] for part in range(7))
        turned = (degrees - middle) / 360
        outside = math.abs(360 * (turned - math.floor(turned)) - 180) - half
        weight = math.clamp(1 - outside * edge, 0, 1) * math.clamp((saturation - none) * slope, 0, 1)
        new_saturation = _grey(new_saturation + weight * more_saturation)
        new_value = _grey(new_value + weight * more_value)
    moved = math.min(math.abs(new_saturation - saturation) + math.abs(new_value - value), 1)
    place = (rgb - least) / math.max(chroma, 1)  # of each channel between the least and the greatest
    shifted = new_value * (1 - new_saturation / 255 * (1 - place))
    return _image(rgb + moved * (shifted - rgb))


def _extremes(rgb: DataNode) -> tuple[DataNode, DataNode]:
    red, green, blue = _channels(rgb)
    return math.max(math.max(red, green), blue), math.min(math.min(red, green), blue)


def _hue(rgb: DataNode, value: DataNode, chroma: DataNode) -> DataNode:
    """0 to 255, whole numbers, as OpenCV's HSV_FULL."""
    red, green, blue = _channels(rgb)
    by_blue = red - green + 4 * chroma
    by_green = _where(value == green, blue - red + 2 * chroma, by_blue)
    sixths = _where(value == red, green - blue, by_green)
    hue = math.floor(sixths * (256 / 6) / math.max(chroma, 1) + 0.5)
    return math.min(hue + 256 * fn.cast(hue < 0, dtype=DALIDataType.FLOAT), 255)


def _channels(image: DataNode) -> tuple[DataNode, DataNode, DataNode]:
    return image[:, :, 0:1], image[:, :, 1:2], image[:, :, 2:3]


def recolour(image: DataNode, matrix: DataNode) -> DataNode:
    """matrix: (3, 4)."""
    return fn.coord_transform(image, MT=matrix, dtype=DALIDataType.UINT8)


def gamma(image: DataNode, exponent: DataNode) -> DataNode:
    return _image(255 * math.pow(image / 255.0, exponent))


def clahe(image: DataNode, weights: DataNode, kinds: Sequence[Clahes]) -> DataNode:
    """On L of CIELAB, a and b kept. weights: inputs.sources()["clahe"]."""
    rgb = fn.cast(image, dtype=DALIDataType.FLOAT)
    curved = rgb / 255
    light = _where(curved > 0.04045, math.pow((curved + 0.055) / 1.055, 2.4), curved / 12.92)
    xyz = fn.coord_transform(light, M=_flat(_XYZ))
    lab = _where(xyz > _KNEE**3, math.cbrt(xyz), _SLOPE * xyz + 16 / 116)
    lightness = _lightness(light)
    change: DataNode | float = 0.0
    total: DataNode | float = 0.0
    equalised = ((kind.tiles, kind.clip(limit)) for kind in kinds for limit in kind.limits)
    for number, (tiles, clip) in enumerate(equalised):
        equal = fn.clahe(lightness, tiles_x=tiles, tiles_y=tiles, clip_limit=clip)
        change = weights[number] * (fn.cast(equal, dtype=DALIDataType.FLOAT) - lightness) + change
        total = weights[number] + total
    lab = lab + change / (_L8 * 116)
    xyz = _where(lab > _KNEE, lab * lab * lab, (lab - 16 / 116) / _SLOPE)
    light = math.clamp(fn.coord_transform(xyz, M=_flat(_RGB)), 0, 1)
    curved = _where(light > 0.0031308, 1.055 * math.pow(light, 1 / 2.4) - 0.055, 12.92 * light)
    return _image(rgb + total * (255 * curved - rgb))


def _lightness(light: DataNode) -> DataNode:
    """uint8 (P, P, 1): L x 2.55 with OpenCV's roundings, bit for bit: small tiles turn one grey level into many."""
    steps = math.floor(_LIGHT_STEPS * light + 0.5)
    y = math.floor(fn.coord_transform(steps, M=_LUMINANCE, dtype=DALIDataType.FLOAT) + 0.5) / _LIGHT_STEPS
    root = _where(y > _KNEE**3, math.cbrt(y), _SLOPE * y + 16 / 116)
    return _image(math.floor(296 * math.floor(2**15 * root + 0.5) / 2**15 - 40.8 + 0.5))


def add_noise(image: DataNode, window: DataNode, sigma: DataNode) -> DataNode:
    """window: uint8 (P, P, 3) of bank.normals()."""
    return _image(image + (window - 128.0) * (sigma / bank.NORMAL_STEP))


def add_shot_noise(image: DataNode, window: DataNode, sigma: DataNode) -> DataNode:
    """sigma: at white; it falls with the root of the light."""
    return _image(image + math.sqrt(image / 255.0) * (window - 128.0) * (sigma / bank.NORMAL_STEP))


def _where(condition: DataNode, then: DataNode, other: DataNode) -> DataNode:
    return other + fn.cast(condition, dtype=DALIDataType.FLOAT) * (then - other)


def _grey(values: DataNode) -> DataNode:
    """Whole numbers of 0 to 255."""
    return math.clamp(math.floor(values + 0.5), 0, 255)


def _image(values: DataNode) -> DataNode:
    return fn.cast(values, dtype=DALIDataType.UINT8)


def _flat(matrix: np.ndarray) -> list[float]:
    return matrix.ravel().tolist()
