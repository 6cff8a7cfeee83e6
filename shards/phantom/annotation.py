"""The annotation of a slide: a Layout in, a QuPath GeoJSON FeatureCollection (level-0 pixels) out."""

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import shapely
import shapely.affinity
from numpy.random import Generator
from shapely.geometry.base import BaseGeometry

from mlseg_core.randomness import generator
from shards.phantom.layout import Layout
from shards.phantom.lookalike import LookalikePair
from shards.phantom.shapes import polygons
from shards.phantom.table import Specimen

CLASSES = (
    "Normal", "Stroma", "Background", "Tumor", "DCIS", "Acini", "Vessel", "Necrosis", "Lymph", "Fold", "Bubble", "Blur",
)  # fmt: skip
"""Every class name that a phantom annotation can hold."""
SWAPPED = {"Tumor": "DCIS", "DCIS": "Tumor"}
EDGE_UM = 4.0
"""Border of a slide that nobody annotates."""
SMALLEST_UM2 = 30.0
"""Slivers under this area that overlays leave are dropped."""


def annotated(specimen: Specimen, layout: Layout) -> str:
    """What people drew: as many regions as they had time for, with borders as careless as they were."""
    random = generator(specimen.seed, "phantom", specimen.layout_name, "people")
    layout = _fewer_regions(random, layout, specimen.regions)
    if specimen.careless_um:
        layout = _careless(random, layout, specimen.careless_um)
    return geojson(layout, specimen.mpp, SWAPPED if specimen.swapped else {})


def whole_truth(specimen: Specimen, layout: Layout) -> str:
    """Every µm of the slide, without mistakes."""
    slide = shapely.box(EDGE_UM, EDGE_UM, layout.size_um - EDGE_UM, layout.size_um - EDGE_UM)
    return geojson(replace(layout, regions=[slide]), specimen.mpp)


def _fewer_regions(random: Generator, layout: Layout, share: float) -> Layout:
    """At least one region; the kinds of the units in them in turn, so that both stay among the slides."""
    if share >= 1 or not layout.regions:
        return layout
    left = [layout.regions[number] for number in random.permutation(len(layout.regions))]
    kept: list[shapely.Polygon] = []
    last = ("Tumor", "DCIS")[int(random.integers(2))]
    for _ in range(max(1, round(share * len(layout.regions)))):
        left.sort(key=lambda region: _unit_in(layout, region) == last)  # stable: ties stay in their random order
        kept.append(left.pop(0))
        last = _unit_in(layout, kept[-1])
    return replace(layout, regions=kept)


def _unit_in(layout: Layout, region: shapely.Polygon) -> str:
    return next((pair.kind for pair in layout.pairs if region.contains(shapely.Point(pair.centre))), "")


def _careless(random: Generator, layout: Layout, spread_um: float) -> Layout:
    """Each outline moved and made wider or narrower by about `spread_um`."""

    def drawn(shape: shapely.Polygon) -> shapely.Polygon:
        x, y, wider = random.normal(0, spread_um, 3)
        parts = polygons(shapely.affinity.translate(shape, x, y).buffer(wider / 2))
        return max(parts, key=lambda part: part.area) if parts else shape

    pairs: list[LookalikePair] = [replace(pair, mass=drawn(pair.mass)) for pair in layout.pairs]
    things, artefacts = (
        [replace(one, shape=drawn(one.shape)) for one in of_kind] for of_kind in (layout.things, layout.artefacts)
    )
    return replace(layout, pairs=pairs, things=things, artefacts=artefacts)


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


def geojson(layout: Layout, mpp: float, called: Mapping[str, str] = MappingProxyType({})) -> str:
    """The FeatureCollection as text; same layout, same bytes. called: class -> the name that it is given by mistake."""
    features = [_feature(called.get(kind, kind), shape, mpp) for kind, shape in areas(layout)]
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
