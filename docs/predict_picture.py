r"""Draws docs/predict.png: a slide, its regions.geojson as QuPath lays them over it, and a part of the probability map.

mlseg shards phantom configs/demo.yaml --out SLIDES phantom.train=1 phantom.val=1 phantom.test=1 \
    phantom.dev_unseen=1 phantom.final_unseen=1
mlseg predict BUNDLE SLIDES/NAME.tif --out OUT
python docs/predict_picture.py SLIDES/NAME.tif OUT/NAME-HASH [FILE]
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFont

from mlseg_core.files import write_atomic
from shards.reader import SlideReader

SIDE, GAP, TOP, COLOURS, MOST_BYTES = 300, 12, 22, 96, 200_000
TITLES = ("1. open the slide", "2. drop regions.geojson on it", "or open probability.ome.tif: tumour")


def regions(tissue: Image.Image, features: list[dict], corner: tuple[float, float], scale: float) -> Image.Image:
    """Their outlines, palely filled. corner: where QuPath's coordinates start, level-0 px. scale: of the picture."""
    out = tissue.convert("RGBA")
    for feature in features:
        rings = [[((x + corner[0]) * scale, (y + corner[1]) * scale) for x, y in ring] for ring in _rings(feature)]
        mask = Image.new("L", out.size)
        draw = ImageDraw.Draw(mask)
        for number, ring in enumerate(rings):
            draw.polygon(ring, fill=0 if number else 90)
        colour = tuple(feature["properties"]["classification"]["color"])
        out.paste(Image.new("RGBA", out.size, (*colour, 255)), mask=mask)
        for ring in rings:
            ImageDraw.Draw(out).line(ring, fill=(*colour, 255), width=1)
    return out.convert("RGB")


def _rings(feature: dict) -> list[list[list[float]]]:
    rings: list[list[list[float]]] = feature["geometry"]["coordinates"]
    return rings


def picture(slide: Path, folder: Path) -> Image.Image:
    summary = json.loads((folder / "summary.json").read_bytes())
    with SlideReader(slide, summary["mpp"][0]) as reader:
        tissue = Image.fromarray(reader.thumbnail(SIDE))
        scale = tissue.width / reader.size[0]
    features = json.loads((folder / "regions.geojson").read_bytes())["features"]
    tumour = tifffile.imread(folder / "probability.ome.tif")[1]
    every = max(1, max(tumour.shape) // SIDE)
    heat = Image.fromarray(np.ascontiguousarray(tumour[::every, ::every])).resize(tissue.size)
    panels = [tissue, regions(tissue, features, tuple(summary["qupath_origin"]), scale), heat.convert("RGB")]
    out = Image.new("RGB", (3 * tissue.width + 4 * GAP, tissue.height + TOP + GAP), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default()
    for number, (panel, title) in enumerate(zip(panels, TITLES, strict=True)):
        left = GAP + number * (tissue.width + GAP)
        draw.text((left, 5), title, fill="black", font=font)
        out.paste(panel, (left, TOP))
    return out


def main(slide: Path, folder: Path, file: Path) -> None:
    buffer = io.BytesIO()
    picture(slide, folder).quantize(COLOURS).save(buffer, "PNG", optimize=True)
    if buffer.tell() > MOST_BYTES:
        sys.exit(f"the picture has {buffer.tell()} bytes, more than {MOST_BYTES}")
    write_atomic(file, buffer.getvalue())
    print(f"{file}: {buffer.tell()} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(*sys.argv[3:4]) if sys.argv[3:] else Path("docs/predict.png"))
