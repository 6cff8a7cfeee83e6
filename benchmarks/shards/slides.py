"""Slides to cut in a benchmark: real tissue mirrored into slides of any size, with a few hundred annotated regions.

In: a small real slide, or a synthetic one where there is none. Out: tiled JPEG pyramids (levels 1, 4, 16 as scanners
write them), GeoJSON, slides.csv. Same arguments, same files.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import openslide
import tifffile

from mlseg_core.config import validate
from mlseg_core.csv_text import write_rows
from mlseg_core.exactly_once.run import run_units
from shards import phantom
from shards.phantom.config import PhantomConfig

MPP = 0.25
_TILE_PX, _QUALITY, _SCALES = 256, 80, (1, 4, 16)
_HEADER = "slide,patient,stain,scanner,source,split,annotation,mpp\n"
_CLASSES = ("Tumor", "Stroma", "Normal", "DCIS", "Lymph", "Necrosis")


def write_slides(folder: Path, real: Path, large: int, size: tuple[int, int]) -> Path:
    """`large` mirrored slides of `size` (width, height) px at 0.25 µm/px, and the real ones in `real`. Returns slides.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    small = [(real / "cmu-1-small-region.svs", ""), (real / "tcga-cr-7395-01a-01-ts1.svs", str(MPP))]
    small = [(path, mpp) for path, mpp in small if path.is_file()]
    for number, (path, mpp) in enumerate(small):
        with openslide.OpenSlide(str(path)) as slide:
            write_regions(folder / f"{path.stem}.geojson", slide.dimensions, seed=100 + number, across=6)
        rows.append((path.resolve(), path.stem, mpp))
    tissue = _tissue(small[-1][0] if small else _painted(folder))
    for number in range(large):
        path = folder / f"large-{number}.tif"
        write_mirrored(path, np.roll(tissue, 512 * number, axis=1), size)
        write_regions(folder / f"large-{number}.geojson", size, seed=number, across=20)
        rows.insert(2 * number, (path.resolve(), path.stem, ""))
    lines = [[path, f"P-{name}", "HE", "bench", "bench", "train", f"{name}.geojson", mpp] for path, name, mpp in rows]
    (folder / "slides.csv").write_text(_HEADER + write_rows(lines))
    return folder / "slides.csv"


def _painted(folder: Path) -> Path:
    """A synthetic slide, for where there is no real one."""
    one = {"mpp": 0.5, "size_um": 2000.0, "train": 1, "val": 0, "test": 0, "dev_unseen": 0, "final_unseen": 0}
    config = validate(one, PhantomConfig, "benchmark")
    run_units(phantom.units(config), phantom.draw, folder / "painted")
    return next((folder / "painted").glob("*.tif"))


def _tissue(path: Path) -> np.ndarray:
    """All of a small slide, uint8 RGB, sides multiples of 16 px so that its mirror images shrink exactly."""
    with openslide.OpenSlide(str(path)) as slide:
        rgb = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    return np.ascontiguousarray(rgb[: len(rgb) // 16 * 16, : rgb.shape[1] // 16 * 16])


def write_mirrored(path: Path, tissue: np.ndarray, size: tuple[int, int]) -> None:
    """A pyramid of `size` px filled with `tissue` and its mirror images, tile by tile: memory stays small."""
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for scale in _SCALES:
            small = cv2.resize(tissue, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
            shape = (size[1] // scale, size[0] // scale, 3)
            writer.write(
                _tiles(small, shape[0], shape[1]),
                shape=shape,
                dtype=np.uint8,
                tile=(_TILE_PX, _TILE_PX),
                photometric="rgb",
                subsampling=(2, 2),
                compression="jpeg",
                compressionargs={"level": _QUALITY},
                resolution=(1e4 / MPP / scale, 1e4 / MPP / scale),
                resolutionunit="CENTIMETER",
                subfiletype=int(scale > 1),
                metadata=None,
                maxworkers=1,
            )


def _tiles(picture: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    for top in range(0, height, _TILE_PX):
        for left in range(0, width, _TILE_PX):
            y, x = (_mirrored(first, length) for first, length in ((top, len(picture)), (left, picture.shape[1])))
            yield picture[y[:, None], x]


def _mirrored(first: int, length: int) -> np.ndarray:
    """Where the px from `first` on come from, in a picture that is mirrored at its edges."""
    place = np.arange(first, first + _TILE_PX) % (2 * length)
    return np.where(place < length, place, 2 * length - 1 - place)


def write_regions(path: Path, size: tuple[int, int], seed: int, across: int) -> None:
    """Wobbly regions on a jittered grid of `across` columns, about half of the slide, as GeoJSON."""
    random = np.random.default_rng(seed)
    pitch = size[0] / across
    features = []
    for row in range(math.ceil(size[1] / pitch)):
        for column in range(across):
            angle = np.arange(0, 2 * np.pi, 0.1)
            waves = [random.normal(0, 0.1 / k) * np.cos(k * angle + random.uniform(0, 6)) for k in range(2, 6)]
            radius = pitch * random.uniform(0.25, 0.6) * (1 + np.sum(waves, axis=0))
            center = (np.array([column, row]) + random.uniform(0.3, 0.7, 2)) * pitch
            ring = center + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            ring = np.round(np.clip(ring, 0, np.array(size) - 1), 1).tolist()
            name = str(random.choice(_CLASSES))
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                    "properties": {"objectType": "annotation", "classification": {"name": name}},
                }
            )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
