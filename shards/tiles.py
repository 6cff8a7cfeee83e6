"""Tile + mask folders -> slides with annotations and a slide table, so that everything after is the same as for slides.

A tile becomes a small tiled TIFF with µm/px; its mask becomes GeoJSON polygons along pixel edges, so nothing is lost.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import tifffile

from mlseg_core.csv_text import read_table, write_rows
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_core.files import fingerprint, sha256_file, write_atomic
from mlseg_core.randomness import generator
from shards.leaks import Row, refuse_split_patients, spelling
from shards.pixels import mask_size, mask_was_misread, read_mask, read_tile, tile_size, tile_was_misread
from shards.slide_table import REQUIRED, SPLITS
from shards.tiles_config import TilesConfig

RECIPE = 1
_THREADS = 8  # files may lie on a slow network


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
        otherwise = [mask_was_misread(Path(row["mask"])), tile_was_misread(Path(row["image"]))]
        if any(otherwise):  # so that it is imported again; of all others the imports of the same recipe stay valid
            inputs["read as"] = otherwise
        made.append(Unit(Path(row["image"]).stem, fingerprint(inputs), (config, row)))
    return made


def check(config: TilesConfig) -> None:
    """Looks at the header of every tile and mask before anything is written.

    Raises UserError that names the first tile or mask that cannot be imported, and counts the others.
    """
    rows = _rows(config)
    with ThreadPoolExecutor(_THREADS) as pool:
        bad = [problem for problem in pool.map(_problem, rows) if problem is not None]
    if bad:
        more = f" (and {len(bad) - 1} more of {len(rows)} tiles are bad)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0].what.rstrip('.')}{more}", bad[0].where, bad[0].fix)


def _problem(row: dict[str, str]) -> UserError | None:
    try:
        _check_sizes(tile_size(Path(row["image"])), mask_size(Path(row["mask"])), row)
    except UserError as error:
        return error
    return None


def _check_sizes(image: tuple[int, int], mask: tuple[int, int], row: dict[str, str]) -> None:
    if image != mask:
        what = f"the mask is {mask[0]} × {mask[1]} px, its image {image[0]} × {image[1]} px"
        raise UserError(what, row["mask"], f"Name the mask of {row['image']}.")


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
        written = {spelling(row["patient"]): row["patient"] for row in reversed(rows)}  # one spelling for each patient
        split_of = _split_patients(config, sorted(written.values()))
        for row in rows:
            row["split"] = split_of[written[spelling(row["patient"])]]
    _check(config, rows)
    return rows


def _listed(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError("no such table of tiles", path, "Correct `tiles.folder` or `tiles.table`.")
    rows = list(read_table(path).rows)
    if not rows:
        raise UserError("no tiles in the table", path, "Add a row for each tile, below a header.")
    return rows


def _found(config: TilesConfig) -> list[dict[str, str]]:
    """Without a table: a row for each file that `images` names, with the one column `name`."""
    before, braces, after = config.images.partition("{name}")
    if not braces:
        raise UserError("no table, and `tiles.images` does not hold {name}", config.folder, "Add one of them.")
    found = sorted(path for path in config.folder.glob(f"{before}*{after}") if not path.name.startswith("."))
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
    table = config.folder / config.table
    numbers = [value for value in config.classes if not value.isdecimal() or str(int(value)) != value]
    if numbers:
        what = f"{numbers[0]!r} is not a value that a mask can hold"
        raise UserError(what, "tiles.classes", "Use whole numbers from 0: '1': Tumor.")
    named: dict[str, str] = {}
    for row in rows:
        twin = named.setdefault(Path(row["image"]).stem, row["image"])
        if twin is not row["image"]:
            what = f"two tiles are named {Path(twin).stem!r}: {twin} and {row['image']}"
            raise UserError(what, table, "Rename one of them, or list it once: a slide is named after its image.")
        if row["split"] not in SPLITS:
            raise UserError(f"split {row['split']!r} is unknown", table, f"Use one of: {', '.join(SPLITS)}.")
    listed = [
        Row(line, Path(row["image"]).name, row["patient"], row["split"]) for line, row in enumerate(rows, start=2)
    ]
    refuse_split_patients(table, listed, "Split by patient: leave `tiles.split` out, or correct the column.")


def draw(unit: Unit, scratch: Scratch) -> None:
    """Write `NAME.tif` and `NAME.geojson`."""
    config, row = unit.payload
    image, mask = _pixels(read_tile, row["image"]), _pixels(read_mask, row["mask"])
    _check_sizes((image.shape[1], image.shape[0]), (mask.shape[1], mask.shape[0]), row)
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


def _pixels(read: Callable[[Path], np.ndarray], path: str) -> np.ndarray:
    """Whatever a decoder makes of a damaged file is that file's fault, not the program's. Raises UserError."""
    try:
        return read(Path(path))
    except (UserError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:  # the disk's fault
            raise
        raise UserError(f"cannot be read ({error})", path, "Copy or export it again.") from None
    except Exception as error:  # decoders raise many kinds
        raise UserError(f"cannot be read ({type(error).__name__}: {error})", path, "Copy or export it again.") from None


def outline(mask: np.ndarray) -> shapely.Geometry:
    """Polygons, with holes, along the pixel edges of a bool mask (H, W)."""
    boxes = []
    for y in range(mask.shape[0]):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask[y].astype(np.int8), [0]])))
        boxes += [shapely.box(x0, y, x1, y + 1) for x0, x1 in edges.reshape(-1, 2)]
    return shapely.union_all(boxes)


def write_table(config: TilesConfig, folder: Path) -> Path:
    """`folder/slides.csv`."""
    path = folder / "slides.csv"
    write_atomic(path, write_rows([REQUIRED]) + write_rows(map(_fields, _rows(config)), quote_all=True))
    return path


def _fields(row: dict[str, str]) -> list[str]:
    name = Path(row["image"]).stem
    told = [row[column] for column in ("patient", "stain", "scanner", "source", "split")]
    return [f"{name}.tif", *told, f"{name}.geojson"]
