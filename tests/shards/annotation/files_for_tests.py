"""Annotation files as the tools write them, and short ways to read them."""

import gzip
import json
from pathlib import Path

import numpy as np

from shards.annotation import Annotation, Frame, read_annotation
from shards.config import ShardsConfig

REAL = Path(__file__).parents[3] / "../shared/realdata/annotations"
CONFIG = ShardsConfig(
    fine_classes=("stroma", "tumour", "dcis"),
    annotation_classes={"Stroma": "stroma", "Tumor": "tumour", "DCIS": "dcis"},
    priority=("tumour", "dcis"),
    mask_classes={"1": "Stroma", "2": "Tumor", "7": "DCIS"},
)
STROMA, TUMOUR, DCIS, NONE = 0, 1, 2, 255


def square(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def geojson(*features: dict) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def feature(name: str | None, *rings: list, **properties) -> dict:
    classes = {} if name is None else {"classification": {"name": name}}
    closed = [[*ring, ring[0]] for ring in rings]
    geometry = {"type": "Polygon", "coordinates": closed}
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"objectType": "annotation", **classes, **properties},
    }


def asap(*annotations: tuple[str, str, list], groups: bool = True) -> str:
    """annotations: (type, group, points)."""
    parts = []
    for number, (kind, group, points) in enumerate(annotations):
        rows = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(points))
        head = f'<Annotation Name="Annotation {number}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        parts.append(f"{head}<Coordinates>{rows}</Coordinates></Annotation>")
    names = sorted({group for _, group, _ in annotations} - {"None"}) if groups else []
    listed = "".join(f'<Group Name="{name}" PartOfGroup="None"><Attributes /></Group>' for name in names)
    body = f"<Annotations>{''.join(parts)}</Annotations><AnnotationGroups>{listed}</AnnotationGroups>"
    return f'<?xml version="1.0"?><ASAP_Annotations>{body}</ASAP_Annotations>'


def aperio(
    *layers: tuple[str, list], head: str = 'MicronsPerPixel="0.5"', attribute: str = "", vertex: str = "Vertex"
) -> str:
    """layers: (name, regions); region: (type, negative, points[, text])."""
    parts = []
    for number, (name, regions) in enumerate(layers, start=1):
        drawn = "".join(_region(vertex, *region) for region in regions)
        body = f"<Attributes>{attribute}</Attributes><Regions>{drawn}</Regions>"
        parts.append(f'<Annotation Id="{number}" Name="{name}">{body}</Annotation>')
    return f"<Annotations {head}>{''.join(parts)}</Annotations>"


def _region(vertex: str, kind: str, negative: str, points: list, text: str = "") -> str:
    rows = "".join(f'<{vertex} X="{x}" Y="{y}" />' for x, y in points)
    return f'<Region Type="{kind}" NegativeROA="{negative}" Text="{text}"><Attributes/><Vertices>{rows}</Vertices></Region>'


def write(folder: Path, content: str | bytes, name: str = "a.annotation", packed: bool = False) -> Path:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if packed else data)
    return folder / name


def opened(path: Path, config: ShardsConfig = CONFIG, size: tuple[int, int] = (100, 100), **frame) -> Annotation:
    """frame: bounds, levels and origin of a Frame."""
    return read_annotation(path, config, Frame(size, (0.5, 0.5), **frame))


def whole(annotation: Annotation, size: tuple[int, int] = (100, 100)) -> np.ndarray:
    """The slide's label at level 0."""
    return annotation.label((0.0, 0.0), (1.0, 1.0), size)


def areas(annotation: Annotation, size: tuple[int, int] = (100, 100)) -> dict[int, int]:
    """Fine id -> px at level 0."""
    ids, counts = np.unique(whole(annotation, size), return_counts=True)
    return {int(i): int(n) for i, n in zip(ids, counts, strict=True) if i != NONE}
