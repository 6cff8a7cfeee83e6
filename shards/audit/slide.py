"""One slide -> its tissue mask, measures and flags: what a person should know before it is cut.

Reads one picture of at most 4096 px and 48 tiles, whatever the slide's size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from shards.audit.blur import BLURRED, tissue_sharpness
from shards.audit.config import AuditConfig, TissueConfig
from shards.audit.tissue import CoarseView, TissueMask, look
from shards.reader import DARKEST, SlideReader, extremes

_DARK = 64  # grey levels; the background of fluorescence is below
_MISREAD_SHARE = 0.05


@dataclass(frozen=True)
class Audit:
    """measures: plain numbers for JSON. flags: flag -> a sentence with the figures, for people.

    always: flags that mean quarantine whatever the policy says.
    """

    tissue: TissueMask
    measures: dict[str, float]
    flags: dict[str, str]
    always: tuple[str, ...] = ()

    def quarantined(self, config: AuditConfig) -> str | None:
        """Why the slide gives no samples under this policy; None when it does."""
        named = dict.fromkeys((*config.quarantine, *self.always))
        reasons = [f"{flag}: {self.flags[flag]}" for flag in named if flag in self.flags]
        return " ".join(reasons) or None


def audit_slide(reader: SlideReader, tissue: TissueConfig, audit: AuditConfig) -> Audit:
    """Look at a slide. Shares are 0 to 1: tissue_share, pen_share and dark_share of the slide, blurred_share of the
    judged tiles. glass_red, glass_green and glass_blue are missing where there is no glass, sharpness figures where
    there is no tissue to judge."""
    view = look(reader, tissue)
    share = float(view.tissue.mask.mean())
    measures = {
        "tissue_share": share,
        "tissue_mm2": float(view.tissue.mask.sum()) * view.um_per_px**2 / 1e6,
        "pen_share": float(view.pen.mean()),
        "dark_share": float((extremes(view.rgb)[1] < _DARK).mean()),
        "glass_share": view.glass.share if view.glass else 0.0,
    }
    if view.glass:
        measures |= dict(zip(("glass_red", "glass_green", "glass_blue"), view.glass.colour, strict=True))
    sharp = tissue_sharpness(reader, view.tissue)
    if sharp.size:
        measures |= {f"sharpness_p{q}": float(np.percentile(sharp, q)) for q in (5, 50, 95)}
        measures |= {"sharpness_tiles": float(sharp.size), "blurred_share": float((sharp < BLURRED).mean())}
    rounded = {name: round(value, 5) for name, value in measures.items()}
    return Audit(view.tissue, rounded, dict(_flags(view, measures, audit)))


def _flags(view: CoarseView, measures: dict[str, float], limits: AuditConfig) -> Iterator[tuple[str, str]]:
    misread = _misread_colour(view)
    if misread:
        yield "colour", misread
        return  # by wrong colours nothing else can be judged
    if view.glass is None and measures["dark_share"] > 0.5:
        yield (
            "inverted",
            f"The background is dark ({measures['dark_share']:.0%} of the slide): fluorescence or inverted.",
        )
        return
    if measures["tissue_share"] < limits.min_tissue:
        figures = f"{measures['tissue_share']:.2%} of the slide ({measures['tissue_mm2']:.2g} mm²)"
        yield "empty", f"Only {figures} is tissue; at least {limits.min_tissue:.2%} is asked for."
    if measures["pen_share"] > limits.max_pen:
        yield "pen", f"Marker pen covers {measures['pen_share']:.0%} of the slide; {limits.max_pen:.0%} is allowed."
    if measures.get("blurred_share", 0.0) > limits.max_blurred:
        figures = f"{measures['blurred_share']:.0%} of {measures['sharpness_tiles']:.0f} tissue tiles are out of focus"
        yield "blurred", f"{figures}; {limits.max_blurred:.0%} is allowed."


def _misread_colour(view: CoarseView) -> str | None:
    """Says so when the background is what neutral glass becomes by taking YCbCr for RGB, or RGB for YCbCr."""
    if view.glass:
        return None
    red, green, blue = (view.rgb[..., channel].astype(int) for channel in range(3))
    as_rgb = (red >= DARKEST) & (np.abs(green - 128) <= 4) & (np.abs(blue - 128) <= 4)
    if as_rgb.mean() >= _MISREAD_SHARE:
        shown = np.median(view.rgb[as_rgb], axis=0).astype(np.uint8)
        true = cv2.cvtColor(shown[[0, 2, 1]].reshape(1, 1, 3), cv2.COLOR_YCrCb2RGB).ravel()
        return (
            f"The background reads {_levels(shown)} as RGB; read as YCbCr it is {_levels(true)}, neutral glass: "
            "the file declares RGB but holds YCbCr."
        )
    as_ycbcr = (red >= 250) & (blue >= 250) & (np.abs(green - 121) <= 6)  # G of glass 180 to 255, R and B saturated
    if as_ycbcr.mean() >= _MISREAD_SHARE:
        shown = np.median(view.rgb[as_ycbcr], axis=0)
        return f"The background reads {_levels(shown)}, as glass does when RGB is taken for YCbCr."
    return None


def _levels(colour: np.ndarray) -> str:
    return ", ".join(f"{round(float(level))}" for level in colour)
