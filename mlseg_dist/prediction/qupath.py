"""Regions of a map -> GeoJSON as QuPath exports it: annotations with class, colour and measurements.

Coordinates are those that QuPath shows: level-0 px, from the corner of the scanned bounds where a slide has some. Our own reader
(shards/annotation/geojson.py) counts them back. One feature a line, in the same order for the same map.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from mlseg_dist.config import CLASSES
from mlseg_dist.prediction.outlines import Outline
from mlseg_dist.report.look import CLASS_COLOURS, rgb
from mlseg_dist.whole_slide.grid import SlideGrid
from shards.annotation import Frame

AREA, MEAN = "Area µm^2", "Mean probability"
"""Names of the measurements; the first is QuPath's own."""
_DECIMALS = 3  # of a level-0 px
_NAMESPACE = uuid.UUID("0f2f0b3e-6f1e-5b37-8c3a-3f7f6f5d2c11")


def write_regions(
    path: Path, outlines: Iterable[Outline], grid: SlideGrid, frame: Frame, names: Mapping[str, str]
) -> dict[str, int]:
    """names: class -> annotation name. Returns class -> number of regions."""
    counts = dict.fromkeys(CLASSES, 0)
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, outline in enumerate(outlines):
            counts[CLASSES[outline.class_number]] += 1
            feature = _feature(outline, grid, frame, names)
            file.write(f"{',' if number else ''}\n{json.dumps(feature, ensure_ascii=False)}")
        file.write("\n]}\n")
    return counts


def _feature(outline: Outline, grid: SlideGrid, frame: Frame, names: Mapping[str, str]) -> dict[str, Any]:
    name = CLASSES[outline.class_number]
    geometry = {"type": "Polygon", "coordinates": _rings(outline.polygon, grid, frame)}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, json.dumps([name, geometry["coordinates"][0]]))),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "classification": {"name": names[name], "color": list(rgb(CLASS_COLOURS[name]))},
            "measurements": {
                AREA: round(outline.cells * grid.cell_um**2, 3),
                MEAN: round(outline.mean, 4),
            },
        },
    }


def _rings(polygon: shapely.Polygon, grid: SlideGrid, frame: Frame) -> list[list[list[float]]]:
    """The outline and its holes, each closed. The last cells may reach beyond the slide by a part of a cell, which is left out."""
    left, top = (frame.bounds or (0, 0))[:2]
    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = np.minimum(shapely.get_coordinates(ring) * grid.cell_level0, frame.size) - (left, top)
        rings.append(np.round(points, _DECIMALS).tolist())
    return rings
