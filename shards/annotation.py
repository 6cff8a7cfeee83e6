"""Annotations: QuPath GeoJSON -> polygons with fine classes; labels rasterised on any view.

Coordinates are level-0 px. 255 = unlabelled: everything outside every annotation, holes included.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
import shapely.geometry

from mlseg_core.errors import UserError
from shards.config import ShardsConfig

UNLABELLED = 255
_SUBPIXEL_BITS = 6


@dataclass(frozen=True)
class Region:
    """One annotated polygon: its rings (exterior first, then holes; float (n, 2) level-0 px) and fine class id."""

    rings: tuple[np.ndarray, ...]
    fine: int
    bounds: tuple[float, float, float, float]


def read_geojson(path: Path, config: ShardsConfig) -> list[Region]:
    """Regions from weak to strong, so that drawing in order lets the stronger win. Raises UserError.

    A class name that `annotation_classes` does not map is an error that lists the names found.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the annotation cannot be read ({error})", path, "Export it again as GeoJSON.") from None
    features = tree.get("features") if isinstance(tree, dict) else tree
    if not isinstance(features, list):
        raise UserError("no list of features in the annotation", path, "Export it again from QuPath as GeoJSON.")
    named = [(_class_name(feature), feature) for feature in features if isinstance(feature, dict)]
    unmapped = sorted({name or "(no class)" for name, _ in named} - set(config.annotation_classes))
    if unmapped:
        raise UserError(
            f"annotation classes that nobody mapped: {', '.join(unmapped)}",
            path,
            "Add them to annotation_classes in configs/classes/.",
        )
    strength = {name: rank for rank, name in enumerate(_weak_to_strong(config))}
    regions = []
    for name, feature in named:
        fine = config.annotation_classes[name]
        for polygon in _polygons(feature, path):
            regions.append((strength[fine], _region(polygon, config.fine_classes.index(fine))))
    return [region for _, region in sorted(regions, key=lambda pair: pair[0])]


def _class_name(feature: dict) -> str:
    properties = feature.get("properties") or {}
    classification = properties.get("classification") or {}
    return str(classification.get("name", "")) if isinstance(classification, dict) else ""


def _weak_to_strong(config: ShardsConfig) -> list[str]:
    return [*(name for name in config.fine_classes if name not in config.priority), *config.priority]


def _polygons(feature: dict, path: Path) -> list[shapely.Polygon]:
    try:
        shape = shapely.geometry.shape(feature["geometry"])
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise UserError(f"a feature has no valid geometry ({error})", path, "Export the annotation again.") from None
    if not shapely.is_valid(shape):
        shape = shapely.make_valid(shape)
    parts = getattr(shape, "geoms", [shape])
    return [part for part in parts if isinstance(part, shapely.Polygon) and not part.is_empty]


def _region(polygon: shapely.Polygon, fine: int) -> Region:
    rings = tuple(np.asarray(ring.coords, float)[:, :2] for ring in (polygon.exterior, *polygon.interiors))
    return Region(rings, fine, polygon.bounds)


def rasterise(
    regions: list[Region], center: tuple[float, float], step: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    """Fine class ids, uint8 (height, width), of the view of `size` (width, height) px centred on the level-0 point.

    step: level-0 px per view px (x, y). A pixel takes the class at its centre.
    """
    label = np.full((size[1], size[0]), UNLABELLED, np.uint8)
    left, top = center[0] - size[0] * step[0] / 2, center[1] - size[1] * step[1] / 2
    right, bottom = left + size[0] * step[0], top + size[1] * step[1]
    for region in regions:
        x0, y0, x1, y1 = region.bounds
        if x1 < left or y1 < top or x0 > right or y0 > bottom:
            continue
        rings = [_fixed_point(ring, (left, top), step) for ring in region.rings]
        cv2.fillPoly(label, rings, region.fine, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    return label


def _fixed_point(ring: np.ndarray, corner: tuple[float, float], step: tuple[float, float]) -> np.ndarray:
    # OpenCV's integer coordinates name pixel centres, ours pixel edges: hence the half pixel.
    view = (ring - np.asarray(corner)) / np.asarray(step) - 0.5
    return np.round(np.clip(view, -(2**20), 2**20) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
