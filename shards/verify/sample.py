"""The members of one sample, decoded strictly and compared with each other, with the key, its slide's row and the manifest.

In: bytes. Out: what is wrong, in words. OpenCV swallows flipped and missing bytes of a JPEG. Here libjpeg's warnings count, and
since a flip can pass as other tissue, the high view must also show what the centre of the low view shows.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from shards.manifest import Manifest, SlideEntry

LEVELS = 21
"""Sidecar labels: byte = class * LEVELS + level of confidence, 255 = no prediction."""
_DIFFERENT_TISSUE = 40.0
"""Grey levels between blocks (1/8 of the field) of both views; at most 22 in sound pairs measured, over 50 in 99 % of swapped."""
_SAME_LABELS = 0.5
"""Least share of the centre's labels that agree between the views; over 0.9 in all sound pairs measured."""


def decode_jpeg(data: bytes, side: int) -> np.ndarray:
    """uint8 (side, side, 3) RGB. Raises ValueError unless it is a whole 4:4:4 colour JPEG of that size, without a warning."""
    height, width, colours, sampling = simplejpeg.decode_jpeg_header(data)
    if (width, height) != (side, side):
        raise ValueError(f"is {width} x {height} px, not {side} x {side}")
    if (colours, sampling) != ("YCbCr", "444"):
        raise ValueError(f"is {colours} {sampling}, not YCbCr 4:4:4")
    if not data.endswith(b"\xff\xd9"):
        raise ValueError("does not end with a JPEG's end mark")
    return simplejpeg.decode_jpeg(data, "RGB", strict=True)


def decode_png(data: bytes) -> np.ndarray:
    """uint8 (H, W). Raises ValueError unless every chunk's checksum holds and it is 8-bit grey."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            mode, size = image.mode, image.size
            image.verify()
        if mode != "L" or max(size) > 1 << 14:
            raise ValueError(f"is a PNG of mode {mode}, {size[0]} x {size[1]} px, not 8-bit grey")
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"cannot be decoded ({error})") from None


def pair_faults(
    views: dict[str, np.ndarray], labels: dict[str, np.ndarray], mpp: tuple[float, float], seed: tuple[int, str] | None
) -> Iterator[tuple[str, str]]:
    """(member, what) where the decoded members of a pair contradict each other.

    views, labels: `high` and `low` as far as they could be decoded, all of one size. mpp: of high and low, µm/px.
    seed: the fine class id at the seed (or UNLABELLED) and its name, None when nobody knows.
    """
    ratio = round(mpp[1] / mpp[0])
    if len(views) == 2 and _block_difference(views["high"], _centre(views["low"], ratio)) > _DIFFERENT_TISSUE:
        yield "high.jpg", "shows other tissue than the centre of low.jpg"
    if len(labels) == 2:
        high, low = labels["high"][ratio // 2 :: ratio, ratio // 2 :: ratio], _centre(labels["low"], ratio)
        if (high[: len(low), : len(low)] == low).mean() < _SAME_LABELS:
            yield "high.png", "says other classes than the centre of low.png"
    if "high" in labels and seed is not None:
        middle = len(labels["high"]) // 2
        if labels["high"][middle, middle] != seed[0]:
            yield "high.png", f"is {labels['high'][middle, middle]} at the seed, the JSON says {seed[1]}"


def check_shape(label: np.ndarray, side: int, strides: tuple[int, ...]) -> None:
    """Raises ValueError unless `label` is square, of the stored side divided by one of the strides."""
    if label.shape not in [(side // stride, side // stride) for stride in strides]:
        sides = " or ".join(str(side // stride) for stride in strides)
        raise ValueError(f"is {label.shape[1]} x {label.shape[0]} px, its side should be {sides}")


def value_fault(label: np.ndarray, values: int, also: tuple[int, ...]) -> str | None:
    """Values are below `values`, or among `also`."""
    wrong = [value for value in np.nonzero(histogram(label))[0].tolist() if value >= values and value not in also]
    return f"has values that are no class: {', '.join(map(str, wrong[:8]))}" if wrong else None


def histogram(label: np.ndarray) -> np.ndarray:
    """px of each value, int64 (256,)."""
    return cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def _centre(image: np.ndarray, ratio: int) -> np.ndarray:
    side = len(image) // ratio
    first = (len(image) - side) // 2
    return image[first : first + side, first : first + side]


def _block_difference(high: np.ndarray, centre: np.ndarray) -> float:
    """Largest difference, in grey levels, of the means of 8 x 8 blocks."""
    small = cv2.resize(high, centre.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    blocks = cv2.resize(small - centre, (8, 8), interpolation=cv2.INTER_AREA)
    return float(np.abs(blocks).max())


_ROW = ("slug", "slide", "patient", "stain", "scanner", "source", "split", "score")
_PLACE = re.compile(r"\+y(\d{7,8})\+x(\d{7,8})$")


def info_faults(
    info: dict[str, Any], key: str, manifest: Manifest, row: SlideEntry | None, shard: str
) -> Iterator[str]:
    """row: of the slide that the shard belongs to, None for a sidecar or when the manifest lacks it.  shard: its name."""
    if info.get("version") != 1:
        yield f"is of version {info.get('version')!r}, not 1"
    expected: dict[str, Any] = {"of": key}
    if manifest.kind == "styled":
        expected["target"] = manifest.facts["targets"].get(shard)
    if manifest.kind == "corpus":
        expected = {name: manifest.views[name] for name in ("high_mpp", "low_mpp")}
        expected |= {name: getattr(row, name) for name in _ROW} if row is not None else {}
        yield from _place_faults(info, key)
        if info.get("seed_class", "") not in (None, *manifest.classes):
            yield f"says seed_class {info.get('seed_class')!r}, which is not a class"
    for name, value in expected.items():
        if name not in info or info[name] != value:
            yield f"says {name} {info.get(name)!r}, it should be {value!r}"


def _place_faults(info: dict[str, Any], key: str) -> Iterator[str]:
    center, at = _two_numbers(info.get("center")), _PLACE.search(key)
    # The key rounds the centre itself, the JSON holds it rounded to 0.001 px.
    if at is None or center is None or not (abs(center[0] - int(at[2])) <= 0.501 >= abs(center[1] - int(at[1]))):
        yield f"says center {info.get('center')!r}, not the key's"
    mpp0 = _two_numbers(info.get("mpp0"))
    if mpp0 is None or not all(0 < value < 100 for value in mpp0):
        yield f"says mpp0 {info.get('mpp0')!r}, not two resolutions in µm/px"


def _two_numbers(value: Any) -> tuple[float, float] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, int | float) for part in value):
        return value[0], value[1]
    return None
