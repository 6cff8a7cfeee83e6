"""Constant lookup tables of the graph. Pure numpy, no DALI.

A table of 65,536 entries has either a 16-bit number as its key, or two bytes that lie side by side: the first is the low one.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from mlseg_dist.augment import tone
from mlseg_dist.augment.parameters import StainShift

_KEYS = np.arange(1 << 16)
_FIRST, _SECOND = _KEYS & 255, _KEYS >> 8

CIRCLE = np.array([[-127, 63.5, 63.5, 128], [0, -127, 127, 128]])
"""(2, 4): what R, G and B lie below the greatest, over the chroma, and 1 -> two bytes, a place on the hexagon of hues."""

XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
XYZ = XYZ / XYZ.sum(1, keepdims=True)
"""Linear sRGB -> X, Y, Z over those of white (D65)."""
LIGHT = 65535
"""Linear light of 1, and X, Y, Z of white, in 16 bits."""
ROOT = 52428
"""What CIELAB takes of X, Y and Z (their cube roots, but for the darkest), 1 for white, in 16 bits: up to 1.25."""
TALL = 32768
"""X, Y and Z of 1 on the way back, in 16 bits: up to 2, for a lightness that is raised may leave the gamut."""
LUMINANCE = np.array([871, 2929, 296, 0.5]) / 4096
"""(4,): R, G, B of light_steps() and 1 -> Y. The constant is below what whole numbers can differ by: it only rounds halves up."""

_KNEE = 6 / 29
_SLOPE = 1 / (3 * _KNEE**2)
_OFFSET = 16 / 116
_LIGHT_STEPS = 255.0 * 8


@cache
def hue() -> np.ndarray:
    """uint8 (65536,), by the bytes of CIRCLE: 0 to 255 for the full circle, as OpenCV's HSV_FULL; 0 for greys."""
    along, across = (_FIRST - 128) / 127, (_SECOND - 128) / 127
    rgb = np.stack([along + across / 2, across, np.zeros(len(_KEYS))], axis=1)
    greatest, least = rgb.max(1), rgb.min(1)
    red, green, blue = rgb.T
    by_green_or_blue = np.where(
        greatest == green, blue - red + 2 * (greatest - least), red - green + 4 * (greatest - least)
    )
    sixths = np.where(greatest == red, green - blue, by_green_or_blue)
    turned = np.floor(sixths * (256 / 6) / np.maximum(greatest - least, 1e-9) + 0.5)
    return np.minimum(np.where(turned < 0, turned + 256, turned), 255).astype(np.uint8)


@cache
def saturation() -> np.ndarray:
    """uint8 (65536,), by V and chroma: S of 0 to 255, as OpenCV rounds it."""
    return np.minimum(np.floor(255 * _SECOND / np.maximum(_FIRST, 1) + 0.5), 255).astype(np.uint8)


@cache
def chroma() -> np.ndarray:
    """uint8 (65536,), by S and V. What saturation() was asked with comes back exactly, so a pixel that is not shifted stays."""
    return np.floor(_FIRST * _SECOND / 255 + 0.5).astype(np.uint8)


def stain_weights(stains: Sequence[StainShift]) -> np.ndarray:
    """uint16 (65536,), by hue and S: how much a pixel belongs to each of one or two stains, two bytes of 0 to 255."""
    out = np.zeros(len(_KEYS), np.uint16)
    for number, stain in enumerate(stains):
        weight = tone.hue_weights(stain)[_FIRST] * tone.stain_weights(stain)[_SECOND]
        out |= np.rint(255 * weight).astype(np.uint16) << (8 * number)
    return out


def dark_weights(stains: Sequence[StainShift]) -> np.ndarray:
    """uint16 (256,), by V: whether a pixel is dark enough for each of one or two stains, two bytes of 0 to 255."""
    out = np.zeros(256, np.uint16)
    for number, stain in enumerate(stains):
        out |= np.rint(255 * tone.dark_weights(stain)).astype(np.uint16) << (8 * number)
    return out


def _linear(curved: np.ndarray) -> np.ndarray:
    return np.where(curved > 0.04045, ((curved + 0.055) / 1.055) ** 2.4, curved / 12.92)


@cache
def light() -> np.ndarray:
    """uint16 (256,): grey level -> linear light."""
    return np.rint(LIGHT * _linear(np.arange(256) / 255)).astype(np.uint16)


@cache
def light_steps() -> np.ndarray:
    """uint16 (256,): grey level -> linear light as OpenCV rounds it on its way to L."""
    return np.floor(_LIGHT_STEPS * _linear(np.arange(256) / 255) + 0.5).astype(np.uint16)


@cache
def lightness() -> np.ndarray:
    """uint8 (65536,): Y of LUMINANCE -> L x 2.55 with OpenCV's roundings, bit for bit: small tiles turn one level into many."""
    y = _KEYS / _LIGHT_STEPS
    root = np.floor(2**15 * _root(y) + 0.5) / 2**15
    return np.clip(np.floor(296 * root - 40.8 + 0.5), 0, 255).astype(np.uint8)


@cache
def roots() -> np.ndarray:
    """uint16 (65536,): X, Y or Z of LIGHT -> ROOT."""
    return np.rint(ROOT * _root(_KEYS / LIGHT)).astype(np.uint16)


@cache
def cubes() -> np.ndarray:
    """uint16 (65536,): ROOT -> X, Y or Z of TALL."""
    root = _KEYS / ROOT
    value = np.where(root > _KNEE, root**3, (root - _OFFSET) / _SLOPE)
    return np.clip(np.rint(TALL * value), 0, 65535).astype(np.uint16)


@cache
def grey() -> np.ndarray:
    """uint8 (65536,): linear light of LIGHT -> grey level."""
    linear = _KEYS / LIGHT
    curved = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return np.clip(np.rint(255 * curved), 0, 255).astype(np.uint8)


@cache
def shot() -> np.ndarray:
    """uint8 (65536,), by grey level and value of the bank of normals: its distance from 128 times the root of the light."""
    return np.rint(128 + (_SECOND - 128) * np.sqrt(_FIRST / 255)).astype(np.uint8)


def _root(value: np.ndarray) -> np.ndarray:
    return np.where(value > _KNEE**3, np.cbrt(value), _SLOPE * value + _OFFSET)
