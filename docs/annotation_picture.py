"""Draws docs/annotations.svg: what becomes of regions that lie over each other. The labels are those that the code gives.

python docs/annotation_picture.py [FILE]
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from shards.annotation import EXCLUDED_PX, Frame, read_annotation
from shards.config import ShardsConfig

SIDE, SCALE, GAP, TOP = 60, 3, 24, 34  # px of the slide; px of the picture per px; between panels; above them
COLOURS = {0: "#f2c14e", 1: "#c8553d", EXCLUDED_PX: "#4a4a4a"}
CONFIG = ShardsConfig(
    fine_classes=("stroma", "tumour"),
    priority=("tumour",),
    annotation_classes={"Stroma": "stroma", "Tumor": "tumour", "Skip": "ignored", "Exclude": "excluded"},
)
OUTER, INNER, CORNER = (6, 6, 54, 54), (14, 14, 46, 46), (26, 26, 36, 36)
PANELS = [
    ("ignored over tumour", [("Tumor", INNER), ("Skip", CORNER)]),
    ("excluded over tumour", [("Tumor", INNER), ("Exclude", CORNER)]),
    ("tumour in excluded", [("Exclude", OUTER), ("Tumor", INNER)]),
    ("hole in a nested region", [("Stroma", OUTER), ("Tumor", INNER), ("negative", CORNER)]),
]
LEGEND = [
    ("stroma", COLOURS[0]),
    ("tumour", COLOURS[1]),
    ("excluded: never learnt, scored or labelled", COLOURS[EXCLUDED_PX]),
    ("unlabelled: teachers may label it", "#ffffff"),
]


def asap(shapes: list[tuple[str, tuple[int, int, int, int]]]) -> str:
    drawn = []
    for name, (x0, y0, x1, y1) in shapes:
        corners = enumerate([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        points = "".join(f'<Coordinate Order="{number}" X="{x}" Y="{y}"/>' for number, (x, y) in corners)
        drawn.append(
            f'<Annotation Type="Polygon" PartOfGroup="{name}"><Coordinates>{points}</Coordinates></Annotation>'
        )
    groups = "".join(f'<Group Name="{name}"/>' for name in dict.fromkeys(name for name, _ in shapes))
    body = f"<Annotations>{''.join(drawn)}</Annotations><AnnotationGroups>{groups}</AnnotationGroups>"
    return f"<ASAP_Annotations>{body}</ASAP_Annotations>"


def labels(shapes: list[tuple[str, tuple[int, int, int, int]]]) -> np.ndarray:
    """uint8 (SIDE, SIDE)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "annotation.xml")
        path.write_text(asap(shapes))
        annotation = read_annotation(path, CONFIG, Frame((SIDE, SIDE), (0.5, 0.5)))
    return annotation.label((0.0, 0.0), (1.0, 1.0), (SIDE, SIDE))


def panel(title: str, shapes: list[tuple[str, tuple[int, int, int, int]]], left: int) -> list[str]:
    label, side = labels(shapes), SIDE * SCALE
    out = [f'<text x="{left}" y="{TOP - 10}">{title}</text>']
    out.append(f'<rect x="{left}" y="{TOP}" width="{side}" height="{side}" fill="#ffffff" stroke="#888888"/>')
    for row in range(SIDE):
        edges = np.flatnonzero(np.diff(label[row].astype(int), prepend=-1, append=-1))
        for x0, x1 in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if (colour := COLOURS.get(int(label[row, x0]))) is not None:
                box = f'x="{left + x0 * SCALE}" y="{TOP + row * SCALE}" width="{(x1 - x0) * SCALE}" height="{SCALE}"'
                out.append(f'<rect {box} fill="{colour}"/>')
    for name, (x0, y0, x1, y1) in shapes:
        box = f'x="{left + x0 * SCALE}" y="{TOP + y0 * SCALE}" width="{(x1 - x0) * SCALE}" height="{(y1 - y0) * SCALE}"'
        out.append(
            f'<rect {box} fill="none" stroke="#111111" stroke-dasharray="5 3"><title>{json.dumps(name)[1:-1]}</title></rect>'
        )
    return out


def picture() -> str:
    width = len(PANELS) * (SIDE * SCALE + GAP) + GAP
    height = TOP + SIDE * SCALE + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="14">'
    ]
    lines.append(f'<rect width="{width}" height="{height}" fill="#ffffff"/>')
    for number, (title, shapes) in enumerate(PANELS):
        lines += panel(title, shapes, GAP + number * (SIDE * SCALE + GAP))
    left = GAP
    for name, colour in LEGEND:
        lines.append(f'<rect x="{left}" y="{height - 26}" width="14" height="14" fill="{colour}" stroke="#888888"/>')
        lines.append(f'<text x="{left + 20}" y="{height - 14}">{name}</text>')
        left += 40 + 7 * len(name)
    return "\n".join([*lines, "</svg>\n"])


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("annotations.svg")).write_text(picture())
