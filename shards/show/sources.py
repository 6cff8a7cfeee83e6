"""What lies in a corpus' folder: manifest, overviews, quarantine list. A damaged or missing overview is None."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.csv_text import read_table
from mlseg_core.errors import UserError
from mlseg_core.files import read_regular
from shards.annotation.origin import FORMAT_NAMES
from shards.manifest import Manifest, SlideEntry, read_manifest


@dataclass(frozen=True)
class Laid:
    """format: as the readers name it; origin: `level0` or `bounds`, at the level-0 point `offset`; stated: the slide table
    says so; plane: (z, t) that was taken; ignored: kind -> shapes that no label came of."""

    format: str
    origin: str
    offset: tuple[float, float]
    stated: bool
    plane: tuple[int, int]
    ignored: dict[str, int]


@dataclass(frozen=True)
class Overview:
    """What the build saw of a slide. Positions are level-0 px.

    size: level-0 (width, height) px; mpp: µm/px (x, y); field_um: side of the high view. seeds: int (n, 3) x, y, fine
    class id or 255, thinned when there are more than 5000. outlines: (fine class id, ring (n, 2)). path: of its JSON.
    laid: how the annotation was laid on the slide; None: there is none, or the build did not say yet.
    """

    path: Path
    size: tuple[int, int]
    mpp: tuple[float, float]
    levels: int
    vendor: str
    measures: dict[str, float]
    flags: dict[str, str]
    field_um: float
    seeds: np.ndarray
    seeds_total: int
    dropped: dict[str, int]
    outlines: tuple[tuple[int, np.ndarray], ...]
    laid: Laid | None = None

    @property
    def thumbnail(self) -> Path:
        return self.path.with_suffix(".thumb.jpg")

    @property
    def tissue(self) -> Path:
        return self.path.with_suffix(".tissue.png")


@dataclass(frozen=True)
class Bad:
    """A slide in quarantine."""

    slide: str
    reason: str
    traceback: str


@dataclass(frozen=True)
class Corpus:
    """overviews: by slug, None where there is none to read. quarantine: by slug, in the order of the list."""

    folder: Path
    manifest: Manifest
    overviews: dict[str, Overview | None]
    quarantine: dict[str, Bad]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def samples_of(self, slide: SlideEntry) -> int:
        return sum(shard.samples for shard in self.manifest.shards if shard.slide == slide.slug)


def read_corpus(folder: Path) -> Corpus:
    """Raises UserError when the folder holds no corpus."""
    manifest = read_manifest(folder / "manifest.json")
    if manifest.kind != "corpus":
        raise UserError(
            "its shards hold labels or styled views, not pairs",
            folder,
            "Give the folder of the corpus that they are of.",
        )
    overviews = {slide.slug: _overview(folder, slide.overview) for slide in manifest.slides}
    quarantine = _quarantine(folder / "quarantine.csv")
    for slide in manifest.slides:
        if slide.quarantined:
            told = quarantine.get(slide.slug)
            quarantine[slide.slug] = Bad(slide.slide, slide.quarantined, told.traceback if told is not None else "")
    return Corpus(folder, manifest, overviews, quarantine)


def _overview(folder: Path, name: str) -> Overview | None:
    path = folder / name
    try:
        if not name or not path.resolve().is_relative_to(folder.resolve()):
            return None
        return _parsed(path, json.loads(read_regular(path).decode("utf-8")))
    except (
        OSError,
        UserError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        RuntimeError,
    ):
        return None  # the page says that it is missing, `mlseg shards verify` why


def _parsed(path: Path, facts: dict[str, Any]) -> Overview:
    width, height = (int(value) for value in facts["size"])
    mpp_x, mpp_y = (float(value) for value in facts["mpp"])
    if min(width, height, mpp_x, mpp_y) <= 0:
        raise ValueError("size and resolution must be positive")
    rings = [(int(fine), np.array(ring, float).reshape(-1, 2)) for fine, ring in facts["outlines"]]
    return Overview(
        path=path,
        size=(width, height),
        mpp=(mpp_x, mpp_y),
        levels=len(facts["levels"]),
        vendor=str(facts["vendor"]),
        measures={str(name): float(value) for name, value in facts["measures"].items()},
        flags={str(name): str(sentence) for name, sentence in facts["flags"].items()},
        field_um=float(facts["patch_um"][0]),
        seeds=np.array(facts["seeds"], float).reshape(-1, 3),
        seeds_total=int(facts["seeds_total"]),
        dropped={str(reason): int(number) for reason, number in facts["dropped"].items()},
        outlines=tuple(rings),
        laid=_laid(facts["annotation"]) if facts.get("annotation") else None,
    )


def _laid(facts: dict[str, Any]) -> Laid:
    x, y = facts["offset"]
    return Laid(
        format=str(facts["format"]),
        origin=str(facts["origin"]),
        offset=(float(x), float(y)),
        stated=bool(facts["stated"]),
        plane=(int(facts["plane"]["z"]), int(facts["plane"]["t"])),
        ignored={str(kind): int(number) for kind, number in facts["ignored"].items()},
    )


def _quarantine(path: Path) -> dict[str, Bad]:
    try:
        rows = read_table(path, "Build the corpus again.").rows
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "Build the corpus again.") from None
    named = [{name: row.get(name) or "" for name in ("slide", "slug", "reason", "traceback")} for row in rows]
    return {row["slug"]: Bad(Path(row["slide"]).name, row["reason"], row["traceback"]) for row in named}


def placement_words(laid: Laid) -> str:
    """Where its coordinates begin: "level 0", or "the scanned bounds at (1000, 600)"."""
    if laid.origin == "level0":
        return "level 0"
    return f"the scanned bounds at ({laid.offset[0]:g}, {laid.offset[1]:g})"


def laid_words(laid: Laid) -> str:
    """Such as "GeoJSON, counted from the scanned bounds at (1000, 600); left out: 3 Point"."""
    said = f"{FORMAT_NAMES.get(laid.format, laid.format)}, counted from {placement_words(laid)}"
    said += " as the slide table says" if laid.stated else ""
    said += f", drawn on z {laid.plane[0]}, t {laid.plane[1]}" if laid.plane != (0, 0) else ""
    left_out = ", ".join(f"{number:,} {kind}" for kind, number in laid.ignored.items())
    return said + (f"; left out: {left_out}" if left_out else "")
