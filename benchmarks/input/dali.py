"""DALI's own pipeline on the CPU: readers.webdataset with wds2idx's index, decoders, the operators that it has.

One warp for all geometry, displacements four times smaller on the low view. There are no CPU operators for the ops of LACKING.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from benchmarks.common.photo_corpus import training_classes
from benchmarks.input.row import Batch, Job
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import class_table

LACKING = (
    *("elastic", "grid_distortion", "optical_distortion", "glass_blur"),  # no remap
    *("targeted_hsv", "gamma", "clahe", "pca", "motion_blur", "emboss"),
)
_SHUFFLE = 100


def augmented(job: Job) -> Iterator[Batch]:
    """Micro-batches without end."""
    manifest = job.manifest()
    paths = [job.folder / shard.name for shard in manifest.of_splits("train")]
    pipeline = _pipeline(
        [str(path) for path in paths],
        [str(path.with_suffix(".idx")) for path in paths],
        {op.op: op for op in job.ops()},
        job.patch_px,
        {name: float(value) for name, value in manifest.views.items()},
        class_table(manifest.classes, training_classes(manifest)).tolist(),
        batch_size=job.batch,
        num_threads=job.threads,
        device_id=None,
        prefetch_queue_depth=2,
    )
    pipeline.build()
    while True:
        high, low, high_label, low_label = (np.asarray(part.as_tensor()) for part in pipeline.run())
        yield high, low, high_label[..., 0], low_label[..., 0]


@pipeline_def(enable_conditionals=True)
def _pipeline(
    paths: list[str], indices: list[str], ops: dict[str, Any], patch_px: int, facts: dict[str, float], table: list[int]
) -> Any:
    """table: fine class -> training class."""
    high, low, high_label, low_label = fn.readers.webdataset(
        paths=paths,
        index_paths=indices,
        ext=["high.jpg", "low.jpg", "high.png", "low.png"],
        missing_component_behavior="error",
        random_shuffle=True,
        initial_fill=_SHUFFLE,
    )
    moves = _moves(ops, facts, patch_px)
    images, labels = [], []
    for view, image, label in (("high", high, high_label), ("low", low, low_label)):
        matrix = _matrix(moves, facts["store_px"], patch_px, facts[f"{view}_mpp"])
        image = fn.decoders.image(image, device="cpu", output_type=types.RGB)
        label = fn.decoders.image(label, device="cpu", output_type=types.GRAY)
        label = fn.lookup_table(label, keys=list(range(256)), values=table, default_value=IGNORED, dtype=types.UINT8)
        size = (patch_px, patch_px)
        images.append(
            fn.warp_affine(image, matrix, size=size, interp_type=types.INTERP_LINEAR, fill_value=255, inverse_map=False)
        )
        labels.append(
            fn.warp_affine(label, matrix, size=size, interp_type=types.INTERP_NN, fill_value=IGNORED, inverse_map=False)
        )
    high, low = images
    for op in ops.values():
        if op.op in _STRENGTHS:
            strength = _STRENGTHS[op.op](op)
            if fn.random.coin_flip(probability=op.p, dtype=types.BOOL):
                high = _NAMESAKES[op.op](high, op, strength, facts["high_mpp"])
                low = _NAMESAKES[op.op](low, op, strength, facts["low_mpp"])
    return high, low, labels[0], labels[1]


def _twists(op: Any) -> dict[str, Any]:
    factors = {part: fn.random.uniform(range=getattr(op, part)) for part in ("brightness", "contrast", "saturation")}
    return factors | {"hue": fn.random.uniform(range=[360 * part for part in op.hue])}


_STRENGTHS: dict[str, Callable[[Any], Any]] = {
    "colour_jitter": _twists,
    "heavy_colour": _twists,
    "brightness": lambda op: fn.random.uniform(range=op.factor),
    "contrast": lambda op: fn.random.uniform(range=op.factor),
    "gaussian_blur": lambda op: fn.random.uniform(range=op.sigma_um),
    "gaussian_noise": lambda op: fn.random.uniform(range=op.sigma),
    "random_noise": lambda op: fn.random.uniform(range=op.sigma),
}
"""Op -> what is drawn once for both views."""
_NAMESAKES: dict[str, Callable[[Any, Any, Any, float], Any]] = {
    "colour_jitter": lambda image, op, drawn, mpp: fn.color_twist(image, **drawn),
    "heavy_colour": lambda image, op, drawn, mpp: fn.color_twist(image, **drawn),
    "brightness": lambda image, op, drawn, mpp: fn.brightness(image, brightness=drawn),
    "contrast": lambda image, op, drawn, mpp: fn.contrast(image, contrast=drawn, contrast_center=op.pivot),
    "gaussian_blur": lambda image, op, drawn, mpp: fn.gaussian_blur(image, sigma=drawn / mpp),
    "gaussian_noise": lambda image, op, drawn, mpp: fn.noise.gaussian(image, stddev=drawn),
    "random_noise": lambda image, op, drawn, mpp: fn.noise.shot(image, factor=drawn * drawn / 255),
}


def _moves(ops: dict[str, Any], facts: dict[str, float], patch_px: int) -> dict[str, Any]:
    """One draw of geometry: angles in degrees, lengths in µm. Ops that the policy lacks do nothing."""
    margin_um = (facts["store_px"] - patch_px) / 2 * facts["high_mpp"]
    moves: dict[str, Any] = {"place": 0.0, "turn": 0.0, "zoom": [1.0, 1.0], "slant": [0.0, 0.0], "shift": 0.0}
    if "crop" in ops:
        reach = ops["crop"].margin * margin_um
        moves["place"] = fn.random.uniform(range=(-reach, reach), shape=2)
    if "xy_jitter" in ops:
        moves["place"] = moves["place"] + fn.random.uniform(range=ops["xy_jitter"].um, shape=2)
    if "rotate" in ops:
        moves["turn"] = fn.random.uniform(range=ops["rotate"].degrees)
    if "rescale" in ops:
        moves["zoom"] = fn.random.uniform(range=ops["rescale"].zoom)
    if "flip" in ops:
        moves["zoom"] = moves["zoom"] * (1 - 2 * fn.random.coin_flip(probability=ops["flip"].each, shape=2))
    if "shear" in ops:
        drawn = fn.random.coin_flip(probability=ops["shear"].p)
        moves["slant"] = fn.random.uniform(range=ops["shear"].degrees, shape=2) * drawn
    if "shift" in ops:
        drawn = fn.random.coin_flip(probability=ops["shift"].p)
        moves["shift"] = fn.random.uniform(range=ops["shift"].um, shape=2) * drawn
    return moves


def _matrix(moves: dict[str, Any], store_px: float, patch_px: int, mpp: float) -> Any:
    """Stored pixels -> patch pixels."""
    matrix = fn.transforms.translation(offset=_both(moves["place"] / mpp - store_px / 2))
    matrix = fn.transforms.rotation(matrix, angle=moves["turn"])
    matrix = fn.transforms.scale(matrix, scale=moves["zoom"])
    matrix = fn.transforms.shear(matrix, angles=moves["slant"])
    return fn.transforms.translation(matrix, offset=_both(moves["shift"] / mpp + patch_px / 2))


def _both(offset: Any) -> Any:
    """A number for x and y, where nothing was drawn."""
    return [offset, offset] if isinstance(offset, float) else offset
