"""Tile + mask folders -> slides with annotations and a slide table, so that everything after is the same as for slides.

A tile becomes a small tiled TIFF with µm/px; its mask becomes GeoJSON polygons along pixel edges, so nothing is lost.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import tifffile

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, sha256_file, write_atomic
from mlseg_core.map import Scratch, Unit
from mlseg_core.randomness import generator
from shards.sample import decode_label, decode_rgb
from shards.slide_table import REQUIRED, SPLITS
from shards.tiles_config import TilesConfig

RECIPE = 1


def units(config: TilesConfig) -> list[Unit]:
    """One unit a tile. Raises UserError for a missing table, column or file, and for a patient in two splits."""
    rows = _rows(config)
    made = []
    for row in rows:
        inputs = {
            "recipe": RECIPE,
            "image": sha256_file(Path(row["image"])),
            "mask": sha256_file(Path(row["mask"])),
            "mpp": config.mpp,
            "classes": config.classes,
        }
        made.append(Unit(Path(row["image"]).stem, fingerprint(inputs), (config, row)))
    return made


def _rows(config: TilesConfig) -> list[dict[str, str]]:
    path = config.folder / config.table if config.table else config.folder
    table = _listed(path) if config.table else _found(config)
    rows = []
    for number, columns in enumerate(table, start=2):
        where = f"{path} line {number}"
        named = ("patient", "stain", "scanner", "source")
        row = {name: _fill(getattr(config, name), columns, where) for name in named}
        row["image"] = str(config.folder / _fill(config.images, columns, where))
        row["mask"] = str(config.folder / _fill(config.masks, columns, where))
        for used in (row["image"], row["mask"]):
            if not Path(used).is_file():
                raise UserError(f"file {used!r} does not exist", where, "Correct `tiles.images` or `tiles.masks`.")
        row["split"] = _fill(config.split, columns, where) if config.split else ""
        rows.append(row)
    if not config.split:
        split_of = _split_patients(config, sorted({row["patient"] for row in rows}))
        for row in rows:
            row["split"] = split_of[row["patient"]]
    _check(config, rows)
    return rows


def _listed(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError("no such table of tiles", path, "Correct `tiles.folder` or `tiles.table`.")
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _found(config: TilesConfig) -> list[dict[str, str]]:
    """Without a table: a row for each file that `images` names, with the one column `name`."""
    before, braces, after = config.images.partition("{name}")
    if not braces:
        raise UserError("no table, and `tiles.images` does not hold {name}", config.folder, "Add one of them.")
    found = sorted(config.folder.glob(f"{before}*{after}"))
    if not found:
        raise UserError(f"no file is named {config.images!r}", config.folder, "Correct `tiles.images`.")
    relative = (path.relative_to(config.folder).as_posix() for path in found)
    return [{"name": path.removeprefix(before).removesuffix(after)} for path in relative]


def _fill(pattern: str, columns: dict[str, str], where: str) -> str:
    try:
        return pattern.format_map(columns)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{pattern!r} names no column: {error}", where, f"Columns: {', '.join(columns)}.") from None


def _split_patients(config: TilesConfig, patients: list[str]) -> dict[str, str]:
    shuffled = [patients[i] for i in generator(config.seed, "tiles", "split").permutation(len(patients))]
    val, test = round(config.val_fraction * len(patients)), round(config.test_fraction * len(patients))
    names = ["val"] * val + ["test"] * test + ["train"] * (len(patients) - val - test)
    return dict(zip(shuffled, names, strict=True))


def _check(config: TilesConfig, rows: list[dict[str, str]]) -> None:
    split_of: dict[str, str] = {}
    table = config.folder / config.table
    for row in rows:
        if row["split"] not in SPLITS:
            raise UserError(f"split {row['split']!r} is unknown", table, f"Use one of: {', '.join(SPLITS)}.")
        if split_of.setdefault(row["patient"], row["split"]) != row["split"]:
            raise UserError(
                f"patient {row['patient']!r} is in two splits, {split_of[row['patient']]} and {row['split']}",
                table,
                "Split by patient: leave `tiles.split` out, or correct the column.",
            )


def draw(unit: Unit, scratch: Scratch) -> None:
    """Write `NAME.tif` and `NAME.geojson`."""
    config, row = unit.payload
    image = decode_rgb(Path(row["image"]).read_bytes())
    mask = decode_label(Path(row["mask"]).read_bytes())
    if mask.shape != image.shape[:2]:
        raise UserError(
            f"the mask is {mask.shape[::-1]}, the image {image.shape[1::-1]} px", row["mask"], "Match them."
        )
    unknown = sorted({str(v) for v in np.unique(mask)} - set(config.classes))
    if unknown:
        raise UserError(f"mask values that nobody mapped: {', '.join(unknown)}", row["mask"], "Add to `tiles.classes`.")
    per_cm = 1e4 / config.mpp
    with tifffile.TiffWriter(scratch.file(f"{unit.name}.tif")) as tiff:
        options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
        tiff.write(image, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", software=False, **options)
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(outline(mask == int(value)))),
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for value, name in sorted(config.classes.items())
        if (mask == int(value)).any()
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    write_atomic(scratch.file(f"{unit.name}.geojson"), text)


def outline(mask: np.ndarray) -> shapely.Geometry:
    """Polygons, with holes, along the pixel edges of a bool mask (H, W)."""
    boxes = []
    for y in range(mask.shape[0]):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask[y].astype(np.int8), [0]])))
        boxes += [shapely.box(x0, y, x1, y + 1) for x0, x1 in edges.reshape(-1, 2)]
    return shapely.union_all(boxes)


def write_table(config: TilesConfig, folder: Path) -> Path:
    """`folder/slides.csv`."""
    lines = [",".join(REQUIRED)]
    for row in _rows(config):
        name = Path(row["image"]).stem
        fields = [f"{name}.tif", row["patient"], row["stain"], row["scanner"], row["source"], row["split"]]
        lines.append(",".join([*(f'"{field}"' for field in fields), f'"{name}.geojson"']))
    path = folder / "slides.csv"
    write_atomic(path, "\n".join(lines) + "\n")
    return path
