"""Pictures of a predicted slide: heat maps with a colour bar and a scale bar, and a class map. PNG bytes out."""

import io
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.report.look import CLASS_COLOURS, CONFIDENCE, INK, MATPLOTLIB
from mlseg_dist.report.overlay import overlay

HEAT = LinearSegmentedColormap.from_list("confidence", CONFIDENCE)
PANELS = ("slide", "tumour", "others", "classes")
DPI = 150


@dataclass(frozen=True)
class Picture:
    """thumbnail: uint8 RGB of the whole slide; probabilities (3, H, W), classes and tissue (H, W) over the same area.

    size_um: the slide's width and height. areas_mm2: class -> area on tissue.
    """

    slide: str
    step: str
    thumbnail: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray
    tissue: np.ndarray
    size_um: tuple[float, float]
    areas_mm2: dict[str, float]


def heat_picture(picture: Picture) -> bytes:
    """Slide, tumour and others (red is confident) and the classes, side by side (two by two for a wide slide)."""
    width_um, height_um = picture.size_um
    aspect = height_um / width_um
    rows, columns = (1, 4) if aspect > 0.75 else (2, 2)
    panel = 3.6 if rows == 1 else 5.2
    with matplotlib.rc_context(MATPLOTLIB):
        figure = Figure(figsize=(columns * panel + 0.9, rows * (panel * aspect + 0.4) + 0.7), layout="constrained")
        axes = figure.subplots(rows, columns).ravel()
        for axis, name in zip(axes, PANELS, strict=True):
            axis.imshow(_panel(picture, name), extent=(0, width_um, height_um, 0), interpolation="nearest")
            axis.set(xticks=[], yticks=[], title=_title(picture, name))
            axis.grid(visible=False)
            axis.spines[:].set_visible(True)
        _scale_bar(axes[0], width_um, height_um)
        bar = figure.colorbar(ScalarMappable(cmap=HEAT), ax=list(axes), shrink=0.75, aspect=32, pad=0.015)
        bar.set_label("probability (red: confident)")
        bar.outline.set_visible(False)
        handles = [Patch(color=CLASS_COLOURS[name], label=name) for name in CLASSES]
        axes[-1].legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, handlelength=1)
        title = f"{_plain(picture.slide)}   ·   {picture.step}"
        figure.suptitle(title, x=0.008, ha="left", fontsize=13, fontweight="bold")
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=DPI)
        return data.getvalue()


def class_picture(picture: Picture) -> bytes:
    """The class map over the slide's thumbnail, without any margin."""
    data = io.BytesIO()
    Image.fromarray(_panel(picture, "classes")).save(data, "PNG")
    return data.getvalue()


def _panel(picture: Picture, name: str) -> np.ndarray:
    """uint8 RGB of the thumbnail's size."""
    if name == "slide":
        return picture.thumbnail
    size = picture.thumbnail.shape[1::-1]
    tissue = cv2.resize(picture.tissue.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    if name == "classes":
        label = cv2.resize(picture.classes, size, interpolation=cv2.INTER_NEAREST)
        return overlay(picture.thumbnail, np.where(tissue, label, IGNORED).astype(np.uint8))
    heat = np.nan_to_num(picture.probabilities[CLASSES.index(name)])
    heat = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    out = (HEAT(heat)[..., :3] * 255).round().astype(np.uint8)
    out[~tissue] = 255
    return out


def _title(picture: Picture, name: str) -> str:
    if name in picture.areas_mm2:
        return f"{name}, {picture.areas_mm2[name]:.3g} mm²"
    return name


def _plain(name: str) -> str:
    return name.replace("$", r"\$")


def _scale_bar(axis: Axes, width_um: float, height_um: float) -> None:
    """A bar of a round length, about a fifth of the width, at the lower left."""
    length = round_length(width_um / 5)
    x, y = 0.04 * width_um, height_um * 0.95
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.5}
    label = f"{length:g} µm" if length < 1000 else f"{length / 1000:g} mm"
    axis.plot([x, x + length], [y, y], color="white", linewidth=6, solid_capstyle="butt")
    axis.plot([x, x + length], [y, y], color=INK, linewidth=3, solid_capstyle="butt")
    axis.text(x, y - 0.02 * height_um, label, ha="left", va="bottom", fontsize=8.5, color=INK, bbox=box)
    axis.set(xlim=(0, width_um), ylim=(height_um, 0))


def round_length(wanted_um: float) -> float:
    """The largest of 1, 2, 5 x 10^n that is not above `wanted_um`."""
    power = 10.0 ** np.floor(np.log10(wanted_um))
    return float(max(part * power for part in (1, 2, 5) if part * power <= wanted_um * 1.0001))
