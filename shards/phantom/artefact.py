"""Folds, bubbles and blurred areas as they look: before the stain (thickness) or after (light)."""

import cv2
import numpy as np
from numpy.random import Generator

from shards.phantom.canvas import Canvas
from shards.phantom.layout import Thing


def fold(canvas: Canvas, thickness: np.ndarray, random: Generator, item: Thing) -> None:
    """Tissue twice over: more dye along a strip, darkest at its crest."""
    mask, window = _mask(canvas, item, 24)
    distance = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5) * canvas.mpp
    profile = np.clip(distance / max(float(distance.max()), 1e-6), 0, 1)
    thickness[window] += (mask / 255.0 * (0.7 + 0.9 * profile)).astype(np.float32)
    for layer in (canvas.counterstain, canvas.chromogen, canvas.matrix):
        part = layer[window]
        over = np.roll(part[::-1, ::-1], (7, 3), (0, 1))  # the sheet that lies on top is another place of the tissue
        part[mask > 127] = np.maximum(part, cv2.addWeighted(over, 0.8, part, 0.4, 0))[mask > 127]


def bubble(picture: np.ndarray, canvas: Canvas, random: Generator, item: Thing) -> None:
    """Air under the cover glass: washed out and soft inside, a dark refracting rim with a bright line."""
    mask, window = _mask(canvas, item, 30)
    part = picture[window].astype(np.float32)
    inside = (mask > 127).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5) * canvas.mpp
    soft = cv2.GaussianBlur(part, (0, 0), 4 / canvas.mpp)
    washed = soft * 0.45 + 238 * 0.55
    rim = np.exp(-0.5 * ((depth - 6) / 4.0) ** 2) * 0.75
    line = np.exp(-0.5 * ((depth - 15) / 2.5) ** 2) * 0.6
    washed = washed * (1 - rim[..., None]) + np.array([46, 42, 48], np.float32) * rim[..., None]
    washed = washed * (1 - line[..., None]) + 252 * line[..., None]
    alpha = (mask / 255.0)[..., None]
    picture[window] = np.clip(part * (1 - alpha) + washed * alpha, 0, 255).astype(np.uint8)


def blur(picture: np.ndarray, canvas: Canvas, random: Generator, item: Thing) -> None:
    """Out of focus: the light of an area spread over several µm."""
    mask, window = _mask(canvas, item, 40)
    part = picture[window]
    soft = cv2.GaussianBlur(part, (0, 0), float(random.uniform(5.5, 8.0)) / canvas.mpp)
    alpha = cv2.GaussianBlur(mask, (0, 0), 5 / canvas.mpp).astype(np.float32)[..., None] / 255
    picture[window] = (part * (1 - alpha) + soft * alpha).astype(np.uint8)


def _mask(canvas: Canvas, item: Thing, margin_um: float) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The item's filled outline (uint8 0..255) in a window of the canvas, and that window."""
    west, south, east, north = (bound / canvas.mpp for bound in item.shape.buffer(margin_um).bounds)
    rows, columns = canvas.shape
    window = (slice(max(0, int(south)), min(rows, int(north))), slice(max(0, int(west)), min(columns, int(east))))
    origin = np.array([window[1].start, window[0].start]) * canvas.mpp
    mask = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), np.uint8)
    canvas.fill(mask, np.asarray(item.shape.exterior.coords) - origin, 2.55)
    return mask, window
