"""How slides are looked at before they are cut."""

from typing import Annotated, Literal

from pydantic import Field

from mlseg_core.config import Strict

Share = Annotated[float, Field(ge=0, le=1)]
Flag = Literal["colour", "inverted", "empty", "pen", "blurred", "off_tissue", "off_slide"]
"""colour: declared colour contradicts the pixels; inverted: dark background (fluorescence); empty: hardly any tissue.

off_tissue: labels lie on glass; off_slide: annotations lie beside the slide. Their limits stand in labels.py.
"""


class TissueConfig(Strict):
    """How tissue is told from glass. Both methods are Otsu thresholds of a thumbnail."""

    method: Literal["saturation", "glass"] = "glass"
    """saturation: usual for stained slides; glass: distance from the slide's own glass colour, which also finds pale IHC."""
    mpp: Annotated[float, Field(gt=0)] = 8.0
    """Resolution of the mask, µm/px; coarser where the slide would exceed 4096 px a side."""


class AuditConfig(Strict):
    """Limits of the flags, and the policy."""

    quarantine: tuple[Flag, ...] = ("colour", "inverted", "empty")
    """Slides with one of these flags give no samples; they are listed in quarantine.csv.

    Slides whose labels lie on glass nearly all (see labels.py) are listed there too, whether `off_tissue` is named or not.
    """
    min_tissue: Share = 0.002
    """Less tissue than this share of the slide: flag `empty`."""
    max_pen: Share = 0.05
    """More pen than this share of the slide: flag `pen`."""
    max_blurred: Share = 0.5
    """More than this share of the tissue out of focus: flag `blurred`."""
