"""The pictures that are measured: scikit-image's, a folder of real ones, phantoms with the dyes that were painted."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from benchmarks.common.real_slides import real_slides
from benchmarks.targeted_hsv.truth import Truth
from shards.phantom import PhantomConfig
from shards.phantom.appearances import DEV
from shards.phantom.catalog import STAINS
from shards.phantom.draw import render_with_dyes
from shards.phantom.layout import plan
from shards.phantom.table import rows
from shards.pixels import read_tile

_IHC_MPP, _GLAS_MPP = 0.5, 0.62
"""µm/px: skimage's picture does not say it; nuclei are as large as at 20x."""
_GLAS_TILES = 8
_MIDDLE_PX = 1000
_PAINTED = 20
"""Hundredths of OD from which a dye counts as there."""


def real(folder: Path | None) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, uint8 RGB, µm/px. Of a folder: slides that say their µm/px, and GlaS, if it is there; those of one name are pooled."""
    yield "skimage immunohistochemistry", skimage.data.immunohistochemistry(), _IHC_MPP
    if folder is None:
        return
    yield from real_slides(folder)
    tiles = sorted(path for path in folder.glob("glas/images/*") if path.is_file())
    for path in tiles[:: max(1, len(tiles) // _GLAS_TILES)][:_GLAS_TILES]:
        yield f"GlaS, {_GLAS_TILES} tiles", read_tile(path), _GLAS_MPP


def artefacts(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Kind, and the opaque pixels as one row: cut-outs named KIND__NAME.png, and tiles without tissue."""
    for path in sorted(folder.rglob("*.png")):
        if "__" in path.name or path.name.startswith(("no-tissue", "almost-white")):
            rgba = np.asarray(Image.open(path).convert("RGBA"))
            kind = path.name.split("__")[0] if "__" in path.name else path.stem
            opaque = rgba[rgba[..., 3] > 100]
            if len(opaque):
                yield kind, np.ascontiguousarray(opaque[None, :, :3])


def phantoms() -> Iterator[tuple[str, np.ndarray, Truth]]:
    """Stain, the middle of a train slide of each, then the dev appearances; truth is what was painted."""
    config = PhantomConfig(train=8, val=0, test=0, dev_unseen=1, final_unseen=0, dev_appearances=tuple(DEV))
    for row in rows(config):
        picture, dyes = render_with_dyes(row.specimen, plan(row.specimen))
        first = (picture.shape[0] - _MIDDLE_PX) // 2
        part = (slice(first, first + _MIDDLE_PX),) * 2
        chromogen = dyes.chromogen[part] >= _PAINTED
        nuclei = dyes.counterstain[part] >= _PAINTED
        if STAINS[row.specimen.stain].where == "nucleus":
            nuclei |= chromogen
        tissue = (dyes.matrix[part] > 0) | nuclei | chromogen
        name = (
            row.specimen.stain
            if row.specimen.name.startswith("train")
            else f"{row.specimen.name}, {row.specimen.stain}"
        )
        yield name, np.ascontiguousarray(picture[part]), Truth("phantom", tissue, nuclei, chromogen)
