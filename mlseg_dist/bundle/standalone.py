"""A slide -> its class map and areas, with onnxruntime, NumPy, Pillow and OpenSlide alone: python predict.py SLIDE OUT.png [MPP]

The map's cells are as large as the network's pixels; values: 0 background, 1 tumour, 2 others. All of the slide is predicted, glass
too, as `mlseg predict --everywhere` does.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import openslide
from PIL import Image

BUNDLE = json.loads((Path(__file__).parent / "teacher.json").read_text(encoding="utf-8"))["teacher"]
HIGH, LOW, SIDE = (BUNDLE["views"][name] for name in ("high_mpp", "low_mpp", "px"))
RATIO, BATCH, THRESHOLD = round(LOW / HIGH), BUNDLE["batch"], BUNDLE["operating"]["threshold"]
STEP = max(RATIO, int(0.75 * SIDE) // RATIO * RATIO)
FIRST = STEP // 2 // RATIO * RATIO - SIDE // 2  # where patches begin, px of the high view


def glass_of(slide):
    """The colour of empty glass: of what is bright and nearly grey, the brightest that is common."""
    picture = slide.get_thumbnail((1024, 1024)).convert("RGB")
    rgb, grey = np.asarray(picture).reshape(-1, 3), np.asarray(picture.convert("L")).ravel()
    light = (rgb.min(1) >= 180) & (rgb.max(1) - rgb.min(1) <= 30) & (rgb.min(1) < 255)
    counts = np.convolve(np.bincount(grey[light], minlength=256), np.ones(5), "same")
    around = [counts[max(0, n - 6) : n + 7].max() for n in range(256)]
    peaks = np.flatnonzero((counts >= around) & (counts >= 0.02 * len(grey)))
    if not len(peaks):
        return (240, 240, 240)
    return tuple(round(float(n)) for n in np.median(rgb[light & (abs(grey - float(peaks[-1])) <= 2)], axis=0))


def view(slide, glass, left, top, step):
    """The square of SIDE px whose corner is (left, top), in px of `step` level-0 px; uint8 RGB."""
    level = max(n for n, d in enumerate(slide.level_downsamples) if n == 0 or d <= step * 1.001)
    factor = step / slide.level_downsamples[level]
    pixels = max(1, round(SIDE * factor))
    part = slide.read_region((round(left * step), round(top * step)), level, (pixels, pixels))
    rgb = Image.new("RGB", part.size, glass)
    rgb.paste(part, mask=part.getchannel("A"))
    if abs(factor - round(factor)) < 1e-3:
        rgb = rgb.reduce(round(factor))
    return np.asarray(rgb if rgb.size == (SIDE, SIDE) else rgb.resize((SIDE, SIDE), Image.Resampling.HAMMING))


def weights():
    """How much each cell of a patch counts: less towards its border, where patches overlap."""
    at = np.arange(SIDE) + 0.5
    line = np.sin(np.pi / 2 * np.clip(np.minimum(at, SIDE - at) / max(SIDE - STEP, 1), 0, 1)) ** 2
    return np.maximum(np.outer(line, line), 1e-3).astype(np.float32)


def class_map(path, mpp=None):
    """uint8 (rows, columns)."""
    slide = openslide.OpenSlide(path)
    mpp = mpp or float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
    glass, window = glass_of(slide), weights()
    columns, rows = (max(1, int(np.ceil(n * mpp / HIGH - 1e-9))) for n in slide.dimensions)
    down, across = (1 + max(0, -(-(n - FIRST - (SIDE - STEP) // 2 - STEP) // STEP)) for n in (rows, columns))
    network = onnxruntime.InferenceSession(str(Path(__file__).parent / "model.onnx"))
    classes = np.zeros((rows, columns), np.uint8)
    width = (across - 1) * STEP + SIDE
    total, weight = np.zeros((3, SIDE, width), np.float32), np.zeros((SIDE, width), np.float32)
    for row in range(down):
        top = FIRST + row * STEP
        for start in range(0, across, BATCH):
            lefts = [FIRST + column * STEP for column in range(start, min(across, start + BATCH))]
            low_top = (top + SIDE // 2) // RATIO - SIDE // 2
            high = np.stack([view(slide, glass, left, top, HIGH / mpp) for left in lefts])
            low = np.stack(
                [view(slide, glass, (x + SIDE // 2) // RATIO - SIDE // 2, low_top, LOW / mpp) for x in lefts]
            )
            given = {"high": high, "low": low}
            given = {one.name: given[one.name] for one in network.get_inputs()}  # some networks see one view
            answers = network.run(["probabilities"], given)[0]
            for left, answer in zip(lefts, answers):  # noqa: B905
                total[:, :, left - FIRST : left - FIRST + SIDE] += answer * window
                weight[:, left - FIRST : left - FIRST + SIDE] += window
        last, begin = (SIDE if row == down - 1 else STEP), max(0, -top)
        end = min(last, rows - top)
        share = total[:, begin:end, -FIRST : columns - FIRST] / weight[begin:end, -FIRST : columns - FIRST]
        classes[top + begin : top + end] = np.where(share.max(0) >= THRESHOLD, share.argmax(0), 0)
        for sums in (total, weight):
            sums[..., :-STEP, :] = sums[..., STEP:, :].copy()
            sums[..., -STEP:, :] = 0
    return classes


if __name__ == "__main__":
    found = class_map(sys.argv[1], float(sys.argv[3]) if len(sys.argv) > 3 else None)
    Image.fromarray(found).save(sys.argv[2])
    for number, name in enumerate(BUNDLE["classes"]):
        print(f"{name}: {(found == number).sum() * HIGH**2 / 1e6:.3f} mm²")
