"""How a folder of tiles and masks becomes slides."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from mlseg_core.config import Strict


class TilesConfig(Strict):
    """Images with masks of the same size, listed in a CSV."""

    folder: Path
    """The folder of the tiles; the other paths are relative to it."""
    table: str = "manifest.csv"
    """CSV with a header, one row a tile. Empty: every file that `images` names is one, with the one column `name`."""
    images: str
    """Path of an image, with columns of the table in braces: `images/{name}.jpg`."""
    masks: str
    """Path of its mask (integer values): `masks/{name}.png`."""
    mpp: Annotated[float, Field(gt=0)]
    """µm/px of the images."""
    classes: dict[str, str]
    """Mask value (as text) -> annotation name."""
    patient: str = "{patient}"
    """Columns in braces; `{name:.12}` is the first 12 letters, the patient of a TCGA name."""
    stain: str = "H&E"
    scanner: str = "unknown"
    source: str = "tiles"
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Part of the patients whose tiles validate."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    split: str | None = None
    """A column that holds the split, in braces; then the fractions are unused."""
    seed: int = 0
    """Decides which patient goes where."""
