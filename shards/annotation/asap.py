"""ASAP's XML -> Drawing. The group an annotation is part of names its class.

Files without groups name the class by the annotation itself, as ASAP's own mask export has it. Dots, point sets and
measurements enclose nothing: ignored and counted.
"""

import numpy as np

from shards.annotation.drawing import NO_CLASS, TOLERANCE_PX, Attributes, Drawing, box_ring, number, tidy_ring

_HOLE_GROUPS = frozenset({"negative", "hole", "exclusion"})  # in any case, unless `annotation_classes` maps them
_MOST_PARTS = 1024


class AsapReader:
    """Takes the elements of one file in order."""

    def __init__(self) -> None:
        self.drawing = Drawing("asap")
        self._found: list[tuple[str, str, np.ndarray]] = []
        self._annotation: dict[str, str] = {}
        self._points: list[tuple[float, float, float]] = []
        self._has_groups = False

    def start(self, tag: str, attributes: Attributes) -> None:
        if tag == "Coordinate":
            self._points.append((number(attributes, "Order"), number(attributes, "X"), number(attributes, "Y")))
        elif tag == "Annotation":
            self._annotation, self._points = dict(attributes), []
        elif tag == "Group":
            self._has_groups = True

    def end(self, tag: str) -> None:
        if tag == "Annotation":
            self._finish_annotation()
        elif tag == "ASAP_Annotations":  # groups stand after the annotations
            for group, name, ring in self._found:
                own = NO_CLASS if self._has_groups else name
                self.drawing.add(own if group in ("", "None") else group, [ring])
            names = {shape.name for shape in self.drawing.shapes}
            self.drawing.hole_names = frozenset(name for name in names if name.casefold() in _HOLE_GROUPS)

    def _finish_annotation(self) -> None:
        kind = self._annotation.get("Type", "Polygon")
        if kind not in ("Polygon", "Spline", "Rectangle"):
            self.drawing.ignored[kind] += 1
            return
        points = np.array(self._points, np.float64).reshape(-1, 3)
        ring = points[np.argsort(points[:, 0], kind="stable"), 1:]
        if kind == "Rectangle" and len(ring) == 2:
            ring = box_ring(ring)
        elif kind == "Spline":
            ring = spline(tidy_ring(ring))
        self._found.append((self._annotation.get("PartOfGroup", ""), self._annotation.get("Name") or NO_CLASS, ring))


def spline(points: np.ndarray) -> np.ndarray:
    """The closed curve that ASAP draws through points (n, 2), no two in a row alike, as a polygon.

    A centripetal Catmull-Rom spline (PolyQtAnnotation.cpp). As there, two tangents are not taken round the ring:
    before the last point the curve leaves for where it came from, and the closing part starts from there. What people
    saw when they drew is what counts.
    """
    count = len(points)
    if count < 3:
        return points
    start, stop = points, np.roll(points, -1, axis=0)
    before, after = np.roll(points, 1, axis=0), np.roll(points, -2, axis=0)
    after[-2] = 2 * stop[-2] - start[-2]
    before[-1] = 2 * start[-1] - stop[-1]
    first, second = _control(before, start, stop), _control(after, stop, start)
    # Error of a chord of a cubic cut in n: at most 6/8 of its largest control difference, over n².
    bend = np.maximum(np.abs(start - 2 * first + second), np.abs(first - 2 * second + stop)).sum(axis=1)
    parts = np.clip(np.ceil(np.sqrt(0.75 * bend / TOLERANCE_PX)), 1, _MOST_PARTS).astype(int)
    piece = np.repeat(np.arange(count), parts)
    t = ((np.arange(len(piece)) - np.repeat(np.cumsum(parts) - parts, parts)) / parts[piece])[:, None]
    s = 1 - t
    return s**3 * start[piece] + 3 * s * s * t * first[piece] + 3 * s * t * t * second[piece] + t**3 * stop[piece]


def _control(before: np.ndarray, point: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """The Bézier control point beside `point` on the way `toward` the next one."""
    near = np.linalg.norm(point - before, axis=1)[:, None]
    far = np.linalg.norm(toward - point, axis=1)[:, None]
    root = np.sqrt(near * far)
    return (near * toward - far * before + (2 * near + 3 * root + far) * point) / (3 * (near + root))
