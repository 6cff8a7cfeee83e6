"""The annotation of a slide: a Layout in, a QuPath GeoJSON FeatureCollection (level-0 pixels) out."""

import json
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from shards.phantom.layout import Layout
from shards.phantom.shapes import polygons

CLASSES = (
    "Normal", "Stroma", "Background", "Tumor", "DCIS", "Acini", "Vessel", "Necrosis", "Lymph", "Fold", "Bubble", "Blur",
)  # fmt: skip
"""Every class name that a phantom annotation can hold."""
SMALLEST_UM2 = 30.0
"""Slivers under this area that overlays leave are dropped."""


def areas(layout: Layout) -> list[tuple[str, shapely.Polygon]]:
    """(class, polygon in µm), disjoint; together they fill the annotated regions."""
    marked: list[tuple[str, BaseGeometry]] = [(thing.kind, thing.shape) for thing in layout.artefacts]
    marked += [(pair.kind, pair.mass) for pair in layout.pairs]
    marked += [(thing.kind, thing.shape) for thing in layout.things]
    found: list[tuple[str, shapely.Polygon]] = []
    for region in layout.regions:
        rest: BaseGeometry = region
        for kind, shape in marked:
            if shape.intersects(rest):
                found += [(kind, part) for part in polygons(shape.intersection(rest))]
                rest = rest.difference(shape)
        found += [("Stroma", part) for part in polygons(rest.intersection(layout.tissue))]
        found += [("Background", part) for part in polygons(rest.difference(layout.tissue))]
    return [(kind, part) for kind, part in found if part.area >= SMALLEST_UM2]


def geojson(layout: Layout, mpp: float) -> str:
    """The FeatureCollection as text; same layout, same bytes."""
    features = [_feature(kind, shape, mpp) for kind, shape in areas(layout)]
    return json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":")) + "\n"


def _feature(kind: str, shape: shapely.Polygon, mpp: float) -> dict[str, Any]:
    rings = [
        [[round(x / mpp, 2), round(y / mpp, 2)] for x, y in ring.coords] for ring in (shape.exterior, *shape.interiors)
    ]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"objectType": "annotation", "classification": {"name": kind}},
    }
