"""DALI's executor against the CPU executor: the same draws, the same JPEGs. Limits are in grey levels of 255."""

from dataclasses import dataclass

import numpy as np
import simplejpeg

from mlseg_core.config import read_yaml
from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.augment.dali.executor import DaliExecutor
from mlseg_dist.augment.dali.inputs import Encoded
from mlseg_dist.augment.parameters import Parameters
from mlseg_dist.augment.policy import OpConfig, named
from mlseg_dist.data.views import Views
from shards.sample import decode_rgb
from tests.mlseg_dist.augment.scene import CONFIGS, MPP, PATCH, STORED, policy

STEPS = ("base", "master-1", "master-2", "master-3", "master-4", "master-5")
NAMES = ("high", "low", "high_label", "low_label")


PAPER = {"high": 0.5, "low": 2.0}
"""µm/px that the ops' defaults are made for. CLAHE's tiles are then of 128 px and 32 px."""


@dataclass(frozen=True)
class Limits:
    """mean, p99: of the absolute difference of an image; changed: part of a label's pixels."""

    mean: float
    p99: float
    changed: float = 0.002


# Without a GPU the decoder is the same, so this is rounding; OpenCV's maps go in 1/32 px.
CPU = Limits(mean=0.2, p99=1)
# OpenCV keeps a and b of CIELAB, and hue, in 8 bits; DALI's graph keeps them as they are. CLAHE makes one grey level of
# difference before it several.
CPU_OF_OP = {"clahe": Limits(1.5, 8), "targeted_hsv": Limits(0.5, 4)}
# nvJPEG's inverse DCT is not libjpeg's, and what it leaves is amplified by contrast, emboss and CLAHE.
GPU = Limits(mean=1.0, p99=4, changed=0.005)
GPU_OF_OP = {"clahe": Limits(3.0, 16, 0.005), "targeted_hsv": Limits(1.5, 8, 0.005), "emboss": Limits(1.5, 6, 0.005)}


def table_8(step: str) -> tuple[OpConfig, ...]:
    tree = named(read_yaml(CONFIGS / "augment/table8.yaml"), "table8.yaml")
    return policy(*tree["policies"][step])


def jpeg(image: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(image, quality=95, colorspace="RGB", colorsubsampling="444")


def encoded(views: Views, parameters: Parameters) -> Encoded:
    return Encoded(jpeg(views.high), jpeg(views.low), views.high_label, views.low_label, parameters)


def stored(views: Views) -> Views:
    """What the CPU executor sees of encoded(views)."""
    high, low = (decode_rgb(jpeg(image)) for image in (views.high, views.low))
    return Views(high, low, views.high_label, views.low_label, views.high_fine)


def executor(ops: tuple[OpConfig, ...], device_id: int | None, mpp: dict[str, float] = PAPER) -> DaliExecutor:
    return DaliExecutor(ops, PATCH, STORED, mpp, 4, device_id, threads=1)


def by_dali(run: DaliExecutor, views: Views, draws: list[Parameters]) -> list[dict[str, np.ndarray]]:
    """Arrays of each draw, by name."""
    samples = [run.prepare(encoded(views, p)) for p in draws]
    batches = [samples[at : at + run.batch] for at in range(0, len(samples), run.batch)]
    return [
        {name: getattr(patches, name)[i].cpu().numpy() for name in NAMES}
        for patches in run.stream(batches)
        for i in range(len(patches.high))
    ]


def compare(ops: tuple[OpConfig, ...], views: Views, limits: Limits, device_id: int | None, draws: int = 4) -> None:
    """Every draw of every image and label within the limits of the CPU executor's."""
    parameters = [draw_parameters(ops, 7, "master", number) for number in range(draws)]
    for p, ours in zip(parameters, by_dali(executor(ops, device_id), views, parameters), strict=True):
        theirs = augment(stored(views), p, PAPER, PATCH)
        for name in NAMES:
            one, other = ours[name], getattr(theirs, name)
            assert one.shape == other.shape and one.dtype == other.dtype, name
            if name.endswith("label"):
                assert (one != other).mean() <= limits.changed, (name, p)
                continue
            difference = np.abs(one.astype(int) - other)
            assert difference.mean() <= limits.mean and np.percentile(difference, 99) <= limits.p99, (
                f"{name}: mean {difference.mean():.3f}, 99th percentile {np.percentile(difference, 99)}, {p}"
            )


def limits_of(ops: set[str], usual: Limits, of_op: dict[str, Limits]) -> Limits:
    """The widest of its ops."""
    found = [of_op[name] for name in ops & of_op.keys()] or [usual]
    return Limits(max(x.mean for x in found), max(x.p99 for x in found), max(x.changed for x in found))


def check_landmarks(device_id: int | None, views: Views, ops: tuple[OpConfig, ...], draws: int = 3) -> int:
    """Disc by disc, the middle of its label and of its dark pixels, at most a pixel from the CPU executor's."""
    parameters = [draw_parameters(ops, 3, "base", number) for number in range(draws)]
    compared = 0
    for p, ours in zip(parameters, by_dali(executor(ops, device_id, MPP), views, parameters), strict=True):
        theirs = augment(stored(views), p, MPP, PATCH)
        for view in ("high", "low"):
            label = getattr(theirs, f"{view}_label")
            for number in np.unique(label[(label > 0) & (label < 255)]):
                there, here = label == number, ours[f"{view}_label"] == number
                if there.sum() < 20 or there[[0, -1]].any() or there[:, [0, -1]].any():
                    continue
                assert np.abs(middle(here) - middle(there)).max() <= 0.5, (view, number, p)
                dark = [255.0 - image[..., 0] for image in (ours[view], getattr(theirs, view))]
                assert np.abs(middle(dark[0] * there) - middle(dark[1] * there)).max() <= 0.5, (view, number, p)
                compared += 1
    return compared


def middle(weight: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(weight.shape)
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
