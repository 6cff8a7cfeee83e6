"""XML of Aperio ImageScope and of HALO (.annotations), one family -> Drawing.

A layer's name is the class; a nameless layer goes by its attribute ("CaP", or the Description's value), then by the
region's text, then by "Layer N", as ImageScope shows it. NegativeROA marks holes of the same layer. Arrows, rulers
and other lines enclose nothing: ignored and counted.
"""

import numpy as np

from shards.annotation.drawing import Attributes, Drawing, box_ring, ellipse_ring, number

_POLYGONS, _RECTANGLES, _ELLIPSES = {"0", "Polygon", "Freehand"}, {"1", "Rectangle"}, {"2", "Ellipse"}
_NAMES = {"3": "arrow", "4": "ruler"}


class AperioReader:
    """Takes the elements of one file in order."""

    def __init__(self) -> None:
        self.drawing = Drawing("aperio")
        self._layers = 0
        self._layer: dict[str, str] = {}
        self._label = ""
        self._regions: list[tuple[dict[str, str], np.ndarray]] = []
        self._region: dict[str, str] | None = None
        self._points: list[tuple[float, float]] = []

    def start(self, tag: str, attributes: Attributes) -> None:
        if tag == "Vertex" or tag == "V":
            self._points.append((number(attributes, "X"), number(attributes, "Y")))
        elif tag == "Region":
            self._region, self._points = dict(attributes), []
        elif tag == "Attribute" and self._region is None:
            name = attributes.get("Name", "")
            self._label = self._label or (attributes.get("Value", "") if name == "Description" else name)
        elif tag == "Annotation":
            self._layer, self._label, self._regions = dict(attributes), "", []
            self._layers += 1
        elif tag == "Annotations" and attributes.get("MicronsPerPixel"):
            self.drawing.mpp = number(attributes, "MicronsPerPixel")

    def end(self, tag: str) -> None:
        if tag == "Region" and self._region is not None:
            self._finish_region(self._region)
            self._region = None
        elif tag == "Annotation":
            name = self._layer.get("Name") or self._label
            for region, ring in self._regions:
                own = name or region.get("Text") or f"Layer {self._layer.get('Id', self._layers)}"
                negative = region.get("NegativeROA", "0").lower() in ("1", "true")
                self.drawing.add(own, [ring], negative, str(self._layers))

    def _finish_region(self, region: dict[str, str]) -> None:
        kind = region.get("Type", "0")
        ring = np.array(self._points, np.float64).reshape(-1, 2)
        # Rectangles and ellipses come as corners, or as the traced outline where a tool has turned or edited them.
        if kind in _ELLIPSES and 2 <= len(ring) <= 4:
            ring = ellipse_ring(ring)
        elif kind in _RECTANGLES and len(ring) == 2:
            ring = box_ring(ring)
        elif kind not in _POLYGONS | _RECTANGLES | _ELLIPSES:
            self.drawing.ignored[_NAMES.get(kind, kind)] += 1
            return
        self._regions.append((region, ring))
