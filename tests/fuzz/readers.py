"""Readers that are not ours: what does a mutated file say according to the standard library, tifffile, Pillow, shapely or PyYAML?

In: a folder with a mutated file, and what our reader gave. Out: whether that is what the file says.
"""

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import tifffile
import yaml
from PIL import Image

Rightly = Callable[[Path, Any], bool]
_ORDER = ("Stroma", "Tumor", "DCIS")
"""Annotation names from weak to strong, in the order of their fine classes."""
_MASK = {1: 0, 2: 1, 7: 2}
_AREAS = ("0", "1", "2", "Polygon", "Freehand", "Rectangle", "Ellipse", "Spline")
_NONE = 255
_MOST_OTHER_PX = 60  # of 10,000: pixels whose centres lie on an edge
_MOST_LEVELS = 6.0  # grey levels, mean: JPEG decoders differ


def index_bytes(data: bytes) -> int:
    """Where the index of a shard begins, its header included."""
    return data.rindex(b"__index__")


def _painted(polygons: list[tuple[str, Any]]) -> np.ndarray:
    out = np.full((100, 100), _NONE, np.uint8)
    y, x = np.mgrid[:100, :100] + 0.5
    for name in _ORDER:
        for own, polygon in polygons:
            if own == name:
                out[shapely.contains_xy(shapely.make_valid(polygon), x.ravel(), y.ravel()).reshape(100, 100)] = (
                    _ORDER.index(name)
                )
    return out


def _is_painted(found: Any, polygons: list[tuple[str, Any]]) -> bool:
    unknown = {name for name, _ in polygons} - set(_ORDER)
    return not unknown and int((np.array(found) != _painted(polygons)).sum()) <= _MOST_OTHER_PX


def geojson(folder: Path, found: Any) -> bool:
    tree = json.loads((folder / "a.geojson").read_bytes())
    features = tree["features"] if isinstance(tree, dict) and "features" in tree else tree
    polygons = []
    for feature in [features] if isinstance(features, dict) else features:
        geometry = feature["geometry"]
        if geometry is None or "Point" in geometry["type"] or "Line" in geometry["type"]:
            continue
        parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        for shell, *holes in parts:
            area = shapely.make_valid(shapely.Polygon(shell))
            for hole in holes:  # one that lies outside adds nothing
                area = area - shapely.make_valid(shapely.Polygon(hole))
            polygons.append((feature["properties"]["classification"]["name"], area))
    return _is_painted(found, polygons)


def xml(name: str) -> Rightly:
    """ASAP's or Aperio's."""

    def read(folder: Path, found: Any) -> bool:
        polygons = []
        for annotation in ElementTree.fromstring((folder / name).read_bytes()).iter("Annotation"):
            regions = [annotation] if name == "asap.xml" else list(annotation.iter("Region"))
            own = annotation.get("PartOfGroup") if name == "asap.xml" else annotation.get("Name")
            for region in regions:
                points = [*region.iter("Coordinate"), *region.iter("Vertex")]
                points.sort(key=lambda point: float(point.get("Order", "0")))
                ring = [(float(point.attrib["X"]), float(point.attrib["Y"])) for point in points]
                if len(ring) > 2 and region.get("Type", "0") in _AREAS:  # arrows and rulers enclose nothing
                    polygons.append((str(own), shapely.Polygon(ring)))
        return _is_painted(found, polygons)

    return read


def mask(folder: Path, found: Any) -> bool:
    """found: of the PNG, then of the TIFF."""
    for name, labels in zip(("mask.png", "mask.tif"), found, strict=True):
        values = np.asarray(Image.open(folder / name)) if name == "mask.png" else tifffile.imread(folder / name)
        named = np.vectorize(lambda value: _MASK.get(int(value), _NONE))(values)
        if values.shape != (100, 100) or not np.array_equal(named, np.array(labels)):
            return False
    return True


def slide(ours: Callable[[Path], tuple[np.ndarray, tuple[float, float]]], name: str) -> Rightly:
    """By tifffile: size and pixels of the largest picture, and a µm/px that stands in the file. ours: pixels and µm/px."""

    def read(folder: Path, found: Any) -> bool:
        rgb, mpp = ours(folder)
        try:
            theirs, left_out, said = _by_tifffile(folder / name)
        except Exception:  # it is stricter than libtiff, which Pillow hands the pixels to
            theirs, left_out, said = _by_pillow(folder / name)
        if name.endswith(".scn"):  # the picture lies on a larger glass
            x, y = found["bounds"][:2] if found["bounds"] else (0, 0)
            rgb = rgb[y : y + theirs.shape[0], x : x + theirs.shape[1]]
        if rgb.shape != theirs.shape:
            return False
        away = np.abs(rgb.astype(float) - theirs).mean(axis=-1)
        away[left_out[: rgb.shape[0], : rgb.shape[1]]] = 0
        return float(away.mean()) <= _MOST_LEVELS and all(
            any(abs(value / own - 1) < 0.01 for own in said) for value in mpp
        )

    return read


_Picture = tuple[np.ndarray, np.ndarray, list[float]]
"""Pixels; where tiles lie nowhere in the file; every µm/px that the file says in some place."""


def _by_tifffile(path: Path) -> _Picture:
    with tifffile.TiffFile(path) as file:
        pages = [page.aspage() for page in file.pages if page.is_tiled]
        page = max(pages, key=lambda one: one.imagewidth * one.imagelength)
        return page.asarray(maxworkers=1)[..., :3], _left_out(page), _said_mpp(file, page)


def _by_pillow(path: Path) -> _Picture:
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB"))
        said = [float(text) for text in re.findall(rb"MPP = ([0-9.]+)", path.read_bytes())]
        resolution = image.tag_v2.get(282)  # type: ignore[attr-defined]
    said += [10000.0 / float(resolution)] if resolution else []
    return rgb, np.zeros(rgb.shape[:2], bool), said


def _left_out(page: tifffile.TiffPage) -> np.ndarray:
    """Pixels of tiles that lie nowhere in the file, bool; a reader may paint them as it likes."""
    across, down = -(-page.imagewidth // page.tilewidth), -(-page.imagelength // page.tilelength)
    lost = np.array(
        [not (offset and count) for offset, count in zip_longest(page.dataoffsets, page.databytecounts, fillvalue=0)]
    )
    return np.kron(lost[: across * down].reshape(down, across), np.ones((page.tilelength, page.tilewidth), bool))


def _said_mpp(file: tifffile.TiffFile, page: tifffile.TiffPage) -> list[float]:
    """Every µm/px that the file says in some place."""
    found = [float(text) for text in re.findall(r"(?:MPP = |PhysicalSize[XY]=\")([0-9.]+)", page.description or "")]
    found += [float(text) for text in re.findall(r"PhysicalSize[XY]=\"([0-9.]+)", file.pages.first.description or "")]
    unit = {2: 25400.0, 3: 10000.0}.get(int(page.tags.valueof("ResolutionUnit", 2)))
    for tag in ("XResolution", "YResolution"):
        above, below = page.tags.valueof(tag, (0, 1))
        if unit and above:
            found.append(unit * below / above)
    return found


def config(folder: Path, found: Any) -> bool:
    """By PyYAML's own parser, every value as text: each that it sees is there, and says the same."""
    own = yaml.load((folder / "tiny.yaml").read_text(encoding="utf-8-sig"), yaml.BaseLoader)
    tree = dict(own)
    for parent in [tree.pop("extends", [])] if isinstance(tree.get("extends"), str) else tree.pop("extends", []):
        below = yaml.load((folder / parent).read_text(encoding="utf-8-sig"), yaml.BaseLoader)
        tree = _over(below, tree)
    tree.pop("runs", None)  # made absolute
    tree.pop("cluster", None)  # translated
    return all(_says(found, path, text) for path, text in _leaves(tree, ()))


def _over(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {**under, **{key: _over(under[key], value) if key in under else value for key, value in over.items()}}


def _leaves(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(value, (*path, key))
    else:
        yield path, tree


def _says(found: Any, path: tuple[Any, ...], text: str) -> bool:
    for key in path:
        if isinstance(found, dict) and key not in found:
            return key in ("workers",) or text in ("null", "~", "")  # left out of the dump
        found = found[key]
    if isinstance(found, bool) or found is None:
        return text.lower() in ({True: "true", False: "false", None: "null"}[found], "~" if found is None else "", "")
    if isinstance(found, int | float):
        number = text.replace("_", "")
        return float(int(number, 0) if number[:2].lower() in ("0x", "0o") else float(number)) == float(found)
    return str(found) == text or (isinstance(found, list) and len(found) == 1 and found[0] == text)


def _rows(path: Path) -> list[dict[str, str]]:
    header, *rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines(keepends=True)) if row]
    assert len(set(header)) == len(header)
    assert all(len(row) == len(header) for row in rows)
    return [dict(zip(header, (cell.strip() for cell in row), strict=True)) for row in rows]


def slide_table(folder: Path, found: Any) -> bool:
    expected = []
    for row in _rows(folder / "slides.csv"):
        annotation = str(folder / row["annotation"]) if row["annotation"] else "None"
        numbers = [str(float(row[name])) if row.get(name) else "None" for name in ("mpp", "score")]
        named = [row[name] for name in ("patient", "stain", "scanner", "source", "split")]
        expected.append([str(folder / row["slide"]), *named, annotation, *numbers])
    return [slide[: len(expected[0])] for slide in found] == expected


def tile_table(folder: Path, found: Any) -> bool:
    expected = [
        (str(folder / f"images/{row['name']}.png"), row["who"], row["split"]) for row in _rows(folder / "manifest.csv")
    ]
    return [(row["image"], row["patient"], row["split"]) for row in found] == expected
