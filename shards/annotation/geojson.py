"""GeoJSON as QuPath writes it, 0.2 (bare list) to 0.5 (FeatureCollection), and single Features -> Drawing.

The class is `properties.classification` (old versions: with `parentClass`), else `properties.name`, else "(no class)".
Cells, tiles and other detections that carry no class, and cores of a TMA, whose names are places in its grid, are not what a
person drew: ignored and counted. The plane that a shape was drawn on is in its geometry, where it is not the first one; a third
coordinate of a point is ignored.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from shards.annotation.drawing import NO_CLASS, REVIEW, Drawing

_FOUND_BY_SOFTWARE = {"detection", "cell", "tile", "tma_core", "root", "TMACoreObject"} | {
    f"Path{kind}Object"
    for kind in ("Detection", "Cell", "Tile", "Root", "TMACore")  # QuPath 0.2
}
_MOST_DERIVED = 32  # classes above a class
_NOT_AREAS = {"Point", "MultiPoint", "LineString", "MultiLineString"}


def parse_geojson(data: bytes) -> Drawing:
    """UTF-8, UTF-16 or UTF-32, with or without a byte order mark. Raises ValueError, RecursionError."""
    drawing = Drawing("geojson")
    for number, feature in enumerate(_features(json.loads(data)), start=1):
        if not isinstance(feature, dict) or "geometry" not in feature:
            raise ValueError(f"feature {number} has no geometry")
        name = _class_name(feature)
        if name is None:
            drawing.ignored["detection without a class"] += 1
            continue
        if name == REVIEW:
            drawing.ignored["region of mlseg review"] += 1
            continue
        plane = _plane(feature, number)
        for rings in _polygons(feature["geometry"], drawing, number):
            drawing.add(name, rings, plane=plane)
    return drawing


def _features(tree: Any) -> list:
    if isinstance(tree, dict):
        tree = [tree] if tree.get("type") == "Feature" else tree.get("features")
    if not isinstance(tree, list):
        raise ValueError("the JSON holds no list of features")
    return tree


def _class_name(feature: dict) -> str | None:
    """None: found by software and not classified."""
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        properties = {}
    label = properties.get("classification")
    if isinstance(label, dict):
        names = label.get("names")  # a derived class, "Tumor: Positive"
        label = _derived(label) or (": ".join(map(str, names)) if isinstance(names, list) else None)
    if label:
        return str(label)
    kind = properties.get("objectType") or properties.get("object_type") or feature.get("id")
    if isinstance(kind, str) and kind in _FOUND_BY_SOFTWARE:
        return None
    return str(properties.get("name") or NO_CLASS)


def _derived(label: dict) -> str:
    """The name of a class. Old versions of QuPath give the last part of "Tumor: Positive" a `parentClass`; "" without a name."""
    parts: list[str] = []
    at: Any = label
    while isinstance(at, dict) and at.get("name") and len(parts) < _MOST_DERIVED:
        parts.insert(0, str(at["name"]))
        at = at.get("parentClass")
    if len(parts) > 1 and parts[-1].startswith(": ".join(parts[:-1]) + ": "):  # written out already
        return parts[-1]
    return ": ".join(parts)


def _plane(feature: dict, number: int) -> tuple[int, int]:
    """(z, t). QuPath writes `plane` into the geometry; other tools write it beside."""
    holders = (feature["geometry"], feature, feature.get("properties"))
    plane: Any = next((h["plane"] for h in holders if isinstance(h, dict) and h.get("plane") is not None), {})
    if not isinstance(plane, dict):
        raise ValueError(f"the plane of feature {number} is damaged")
    z, t = (0 if plane.get(axis) is None else plane[axis] for axis in "zt")
    if not all(type(value) in (int, float) and value == value // 1 and abs(value) < 1e9 for value in (z, t)):
        raise ValueError(f"the plane of feature {number} is damaged")
    return max(0, int(z)), max(0, int(t))  # -1 stands for all planes, as it does for channels


def _polygons(geometry: Any, drawing: Drawing, number: int) -> Iterator[list[np.ndarray]]:
    if geometry is None:
        drawing.ignored["no geometry"] += 1
        return
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        for member in _list(geometry.get("geometries"), number):
            yield from _polygons(member, drawing, number)
    elif kind == "Polygon" or kind == "MultiPolygon":
        coordinates = _list(geometry.get("coordinates"), number)
        for polygon in [coordinates] if kind == "Polygon" else coordinates:
            yield [_ring(ring, number) for ring in _list(polygon, number)]
    elif isinstance(kind, str) and kind in _NOT_AREAS:
        drawing.ignored[kind] += 1
    else:
        raise ValueError(f"feature {number} has a geometry of unknown type {str(kind)[:40]!r}")


def _list(value: Any, number: int) -> list:
    if not isinstance(value, list):
        raise ValueError(f"the geometry of feature {number} is damaged")
    return value


def _ring(points: Any, number: int) -> np.ndarray:
    if points == []:
        return np.empty((0, 2))
    try:
        ring = np.array(points)
        if ring.dtype == object:  # whole numbers of over 64 bits
            ring = ring.astype(np.float64)
    except (ValueError, TypeError, OverflowError):  # points of two and of three numbers in one ring are rejected too
        raise ValueError(f"the geometry of feature {number} is damaged") from None
    if ring.dtype.kind not in "iuf" or ring.ndim != 2 or ring.shape[1] < 2:
        raise ValueError(f"the geometry of feature {number} is damaged")
    return ring[:, :2]
