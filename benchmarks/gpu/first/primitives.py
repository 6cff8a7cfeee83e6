"""Each DALI operator that our graphs use, alone: on the GPU against the same operator on the CPU.

Each has a pipeline of its own, so that one that a GPU refuses hides no other.
In: a small image. Out: the largest difference, or the error.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from nvidia.dali import Pipeline, fn, math
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import DALIDataType, DALIInterpType

from benchmarks.gpu.first.parts import Rows, Settings

_SIDE = 64
_BYTE, _WORD, _FLOAT = DALIDataType.UINT8, DALIDataType.UINT16, DALIDataType.FLOAT
_TURN = [0.9, -0.1, 3.0, 0.1, 0.9, -2.0]
_MIX = [0.5, 0.3, 0.2, 1.0, 0.1, 0.8, 0.1, -1.0, 0.0, 0.2, 0.7, 2.0]

Operator = Callable[[DataNode, DataNode], Any]
"""Image uint8 (S, S, 3) and map float32 (S, S, 2) of places -> the operator's output."""


def _word(image: DataNode) -> DataNode:
    return fn.reinterpret(image[:, :, 0:2], shape=[_SIDE, _SIDE, 1], dtype=_WORD, layout="HWC")


def _remap(image: DataNode, at: DataNode) -> Any:
    return fn.experimental.remap(
        image, at[:, :, 0], at[:, :, 1], interp=DALIInterpType.INTERP_LINEAR, pixel_origin="center"
    )


OPERATORS: dict[str, Operator] = {
    "slice, reflected": lambda image, _: fn.slice(
        image, start=[-8, 5], shape=[80, 40], axes=[0, 1], out_of_bounds_policy="reflect_101"
    ),
    "slice, padded": lambda image, _: fn.slice(
        image, start=[-8, 5], shape=[80, 90], axes=[0, 1], out_of_bounds_policy="constant", fill_values=255.0
    ),
    "slice, edge": lambda _, at: fn.slice(at, start=[0, 0], shape=[80, 80], axes=[0, 1], out_of_bounds_policy="edge"),
    "warp_affine": lambda image, _: fn.warp_affine(
        image, matrix=_TURN, size=[48, 48], interp_type=DALIInterpType.INTERP_LINEAR
    ),
    "warp_affine, nearest": lambda image, _: fn.warp_affine(
        image, matrix=_TURN, size=[48, 48], interp_type=DALIInterpType.INTERP_NN, fill_value=255.0
    ),
    "resize of a field": lambda _, at: fn.resize(
        at, size=[96, 96], interp_type=DALIInterpType.INTERP_LINEAR, antialias=False
    ),
    "math.floor": lambda _, at: math.floor(at + 0.5),
    "coord_transform, bytes": lambda image, _: fn.coord_transform(image, MT=_MIX, dtype=_BYTE),
    "coord_transform, words": lambda image, _: fn.coord_transform(
        fn.cast(image, dtype=_WORD), M=[0.5, 0.3, 0.2, 0.1, 0.8, 0.1, 0.0, 0.2, 0.7], dtype=_WORD
    ),
    "coord_transform, six channels": lambda image, _: fn.coord_transform(
        fn.cat(image, image, axis=2), M=[0.2] * 18, dtype=_BYTE
    ),
    "lookup_table, bytes": lambda image, _: fn.lookup_table(
        image, keys=list(range(256)), values=[float(255 - key) for key in range(256)], dtype=_BYTE
    ),
    "reinterpret, lookup_table of words": lambda image, _: fn.lookup_table(
        _word(image), keys=list(range(65536)), values=[float(key >> 8) for key in range(65536)], dtype=_BYTE
    ),
    "cat": lambda image, _: fn.cat(image, image, axis=2),
    "stack": lambda image, _: fn.stack(image, image, axis=3),
    "reductions.max": lambda image, _: fn.reductions.max(image, axes=[2], keep_dims=True),
    "arithmetic, broadcast": lambda image, _: fn.cast(image / math.max(image[:, :, 0:1], 1), dtype=_FLOAT),
    "math.pow, brightness_contrast": lambda image, _: fn.brightness_contrast(
        math.pow(fn.cast(image, dtype=_FLOAT), 0.9), brightness=1.5, dtype=_BYTE
    ),
    "clahe": lambda image, _: fn.clahe(image[:, :, 0:1], tiles_x=4, tiles_y=4, clip_limit=2.0),
    "gaussian_blur": lambda image, _: fn.gaussian_blur(image, sigma=1.5, window_size=9),
    "filter": lambda image, _: fn.filter(image, np.full((3, 3), 1 / 9, np.float32)),
    "experimental.remap": _remap,
}


def alone(settings: Settings, rows: Rows) -> None:
    """A row for each operator. On a CPU it is compared with itself, and remap, which has no CPU operator, is left out."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    rows_, columns = np.indices((_SIDE, _SIDE), dtype=np.float32)
    at = np.stack([columns + 0.25, rows_ + 0.25], axis=-1)
    for name, operator in OPERATORS.items():
        has_cpu = operator is not _remap
        if settings.device == "cpu" and not has_cpu:
            continue
        try:
            there = _run(operator, image, at, 0 if settings.device == "cuda" else None)
            here = _run(operator, image, at, None) if has_cpu else None
            largest = float(np.abs(there.astype(np.float64) - here).max()) if here is not None else None
            rows.add(
                operator=name, works=True, largest_difference=largest, output=f"{there.dtype} {there.shape}", error=""
            )
        except Exception as error:  # the next one may work
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            rows.add(operator=name, works=False, largest_difference=None, output="", error=said)


def _run(operator: Operator, image: np.ndarray, at: np.ndarray, device_id: int | None) -> np.ndarray:
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        views = fn.external_source(name="image", ndim=3, dtype=_BYTE, layout="HWC")
        places = fn.external_source(name="at", ndim=3, dtype=_FLOAT, layout="HWC")
        if device_id is not None:
            views, places = views.gpu(), places.gpu()
        pipeline.set_outputs(operator(views, places), views, places)  # an input that nothing needs would be left out
    pipeline.build()
    pipeline.feed_input("image", [image])
    pipeline.feed_input("at", [at])
    out, *_ = pipeline.run()
    return np.asarray((out.as_cpu() if device_id is not None else out).at(0))
