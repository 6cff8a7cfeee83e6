"""What a review leaves: a GeoJSON file a slide for QuPath, a table, a page of thumbnails, and the record of all of them.

In: chosen regions. Out: a folder. A folder that already holds a review is written anew; what somebody changed in it, or put there,
is never touched.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlseg_core.csv_text import write_rows
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, sha256_file, write_atomic, write_json
from mlseg_dist.review.choosing import Region
from mlseg_dist.review.scores import Reason
from shards.annotation.drawing import REVIEW
from shards.manifest import Manifest, SlideEntry

RECORD, PAGE, TABLE = "review.json", "index.html", "regions.csv"
_COLOUR = [255, 190, 0]
WORDS: dict[Reason, str] = {
    "conflict": "the teacher contradicts the annotation",
    "disagreement": "rounds disagree",
    "uncertainty": "the teacher is unsure",
}


def check_folder(folder: Path) -> None:
    """Before any work. Raises UserError for a folder that is not a review's, or that somebody changed since."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError("is not a folder", folder, "Name another --out.")
    record = folder / RECORD
    found = _files_of(read_json(record)) if record.exists() else None
    if found is None:
        if any(folder.iterdir()):
            raise UserError("holds something that is not a review", folder, "Name another --out.")
        return
    for name, sha256 in found.items():
        path = folder / name
        if path.exists() and (path.is_symlink() or not path.is_file() or sha256_file(path) != sha256):
            raise UserError("was changed since the review was written", path, "Move it away, or name another --out.")


def _files_of(record: Any) -> dict[str, str] | None:
    """Return the names in a review's record; None: it is not one."""
    files = record.get("files") if isinstance(record, dict) and record.get("kind") == "review" else None
    if not isinstance(files, dict):
        return None
    named = {name: digest for name, digest in files.items() if isinstance(digest, str) and Path(name).name == name}
    return named if len(named) == len(files) else None


def write_review(folder: Path, files: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Replace the folder's earlier review, if any. files: name -> text. facts: for the record."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    old = _files_of(read_json(record)) if record.exists() else {}
    for name, text in files.items():
        write_atomic(folder / name, text)
    for name in (old or {}).keys() - files.keys():
        (folder / name).unlink(missing_ok=True)
    write_json(record, {"kind": "review", **facts, "files": {name: sha256_file(folder / name) for name in files}})


def geojson_name(slug: str) -> str:
    return f"{slug}.geojson"


def geojson(regions: Sequence[Region], entry: SlideEntry, high_mpp: float) -> str:
    """Return a slide's regions as QuPath reads them: level-0 px from the corner of what was scanned.

    Their class is one that our own reader leaves out, so that an export of all of a slide's objects can be annotation again.
    """
    features = [_feature(region, _origin(region, entry, high_mpp)) for region in regions]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"


def _origin(region: Region, entry: SlideEntry, high_mpp: float) -> tuple[float, float]:
    """Return where QuPath begins to count, level-0 px: the corner of the scanned part, to half a pixel of the high view."""
    if entry.inside is None:
        return 0.0, 0.0
    left, top = entry.inside.high[:2]
    side_x, side_y = region.patch.size
    # A patch of patch_px is size px of level 0, so a pixel of the high view is size / patch_px; both views' planes begin at (0, 0).
    step = (side_x * high_mpp / region.side_um, side_y * high_mpp / region.side_um)
    return left * step[0], top * step[1]


def _feature(region: Region, origin: tuple[float, float]) -> dict[str, Any]:
    patch = region.patch
    x, y = (center - size / 2 - begin for center, size, begin in zip(patch.center, patch.size, origin, strict=True))
    corners = [(x, y), (x + patch.size[0], y), (x + patch.size[0], y + patch.size[1]), (x, y + patch.size[1]), (x, y)]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlseg-review:{patch.ref.key}")),
        "geometry": {"type": "Polygon", "coordinates": [[[round(x, 2), round(y, 2)] for x, y in corners]]},
        "properties": {
            "objectType": "annotation",
            "name": f"{region.rank}: {sentence(region)}",
            "classification": {"name": REVIEW, "color": _COLOUR},
            "isLocked": True,
            "measurements": {"rank": region.rank, "score": round(region.score, 4), "mm²": round(region.area_mm2, 4)},
        },
    }


def sentence(region: Region) -> str:
    """Say why somebody should look: `the teacher contradicts the annotation (tumour, it says others) on 31 %`."""
    what = ""
    if region.reason == "conflict" and region.patch.clash is not None:
        theirs, its = region.patch.clash
        what = f" ({theirs}, it says {its})"
    return f"{WORDS[region.reason]}{what} on {100 * region.score:.0f} %"


def table(regions: Sequence[Region], slides: Mapping[str, SlideEntry]) -> str:
    """Return all regions as CSV, best first. x, y, width, height: level-0 px of the whole slide."""
    rows: list[list[object]] = [
        ["rank", "slide", "stain", "scanner", "reason", "score", "x", "y", "width", "height", "mm2", "human", "key"]
    ]
    for region in regions:
        patch, entry = region.patch, slides[region.patch.ref.slide]
        x, y = (center - size / 2 for center, size in zip(patch.center, patch.size, strict=True))
        place = [f"{value:.1f}" for value in (x, y, *patch.size)]
        facts = [f"{region.score:.4f}", *place, f"{region.area_mm2:.4f}", f"{patch.human:.3f}", patch.ref.key]
        rows.append([region.rank, entry.slug, entry.stain, entry.scanner, region.reason, *facts])
    return write_rows(rows)


def slides_by_slug(corpus: Manifest) -> dict[str, SlideEntry]:
    return {entry.slug: entry for entry in corpus.slides}
