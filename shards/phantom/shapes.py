"""Outlines in µm: blobs, nests, bands. Numpy arrays of points N×2 (x, y) or shapely polygons out."""

import numpy as np
import shapely
from numpy.random import Generator
from shapely.geometry.base import BaseGeometry

Points = np.ndarray


def blob(random: Generator, centre: Points, radius: float, roughness: float = 0.12, points: int = 72) -> Points:
    """A closed irregular outline; `roughness` is the relative amplitude of its bumps."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    orders = np.arange(2, 8)
    phases = random.uniform(0, 2 * np.pi, orders.size)
    sizes = random.normal(0, 1, orders.size) / orders
    bumps = (sizes[:, None] * np.cos(orders[:, None] * angle + phases[:, None])).sum(0)
    r = radius * (1 + roughness * bumps)
    return centre + np.stack([r * np.cos(angle), r * np.sin(angle)], 1)


def nests(random: Generator, centre: Points, radius: float) -> shapely.Polygon:
    """A cell-dense mass: overlapping rounded nests, all within `radius` of the centre."""
    parts = []
    for i in range(int(random.integers(4, 7))):
        size = radius * random.uniform(0.42, 0.6)
        away = 0.25 * radius if i == 0 else (radius - size) * random.uniform(0.6, 1.0)
        turn = random.uniform(0, 2 * np.pi)
        at = centre + away * np.array([np.cos(turn), np.sin(turn)])
        parts.append(polygon(blob(random, at, size * 0.95, 0.1, 40)))
    parts.append(polygon(blob(random, centre, radius * 0.6, 0.15)))
    whole = shapely.union_all(parts).intersection(shapely.Point(centre).buffer(radius))
    largest = max(polygons(whole), key=lambda part: part.area)
    return polygon(np.asarray(largest.exterior.simplify(0.5).coords))


def ring(random: Generator, centre: Points, inner: float, width: float) -> Points:
    """Centre line of a closed cuff: a slightly oval, slightly wavy circle that nowhere comes nearer than `inner`."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    wobble = np.zeros_like(angle)
    for order in (2, 3, 5):
        wobble += random.uniform(2, 6) * np.cos(order * angle + random.uniform(0, 2 * np.pi))
    r = inner + width / 2 + wobble - wobble.min()
    return centre + np.stack([r * np.cos(angle), r * np.sin(angle)], 1)


def piece(random: Generator, middle: Points, turn: float, length: float) -> Points:
    """Centre line of an open, nearly straight piece of band."""
    along = np.linspace(-0.5, 0.5, 9) * length
    bend = random.uniform(-0.12, 0.12) * length * np.cos(np.pi * along / length)
    cos, sin = np.cos(turn), np.sin(turn)
    return middle + np.stack([along * cos - bend * sin, along * sin + bend * cos], 1)


def polygon(points: Points) -> shapely.Polygon:
    """A valid polygon of an outline."""
    shape = shapely.Polygon(points)
    if shape.is_valid:
        return shape
    return max(polygons(shape.buffer(0)), key=lambda part: part.area)


def polygons(shape: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons in any geometry; lines and points that an overlay left are dropped."""
    if isinstance(shape, shapely.Polygon):
        return [] if shape.is_empty else [shape]
    return [part for child in getattr(shape, "geoms", []) for part in polygons(child)]
