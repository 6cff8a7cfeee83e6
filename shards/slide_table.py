"""The slide table: slides.csv -> checked rows. Paths are relative to the CSV."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlseg_core.csv_text import read_table
from mlseg_core.errors import UserError
from shards.leaks import Row, look_alikes, refuse_split_patients

SPLITS = ("train", "val", "test", "dev-unseen", "final-unseen")
REQUIRED = ("slide", "patient", "stain", "scanner", "source", "split", "annotation")
OPTIONAL = ("mpp", "score", "origin", "mpp_override")
ORIGINS = ("level0", "bounds")
MOST_SLUG = 44
_MOST_SLUG_BEFORE = 46


@dataclass(frozen=True)
class Slide:
    """One row.

    slide: path of the image.  annotation: path or None.  mpp: µm/px of level 0, or None where the file says it.
    origin: where the annotation's coordinates start, `level0` or `bounds`; None: as its format has it.
    mpp_override: the row says that the file's own µm/px is wrong and `mpp` is right.
    """

    slide: Path
    patient: str
    stain: str
    scanner: str
    source: str
    split: str
    annotation: Path | None
    mpp: float | None
    score: float | None
    origin: str | None = None
    mpp_override: bool = False

    known_as: str | None = None
    """The slug under which an earlier recipe cut this slide, where it differs from today's."""

    @property
    def slug(self) -> str:
        """The slide's name in KEYs and shard names: letters, digits, `_` and `-`; all sort above the `+` that ends it.

        A name that had to be changed gets a short hash, so that two names never become one. At most 46 characters, and
        44 unless recipe 5 gave it: a KEY has 64, and positions of eight digits take 20.
        """
        if self.known_as is not None:
            return self.known_as
        name = slide_name(self.slide)
        before = _slug_before(name)
        if len(before) <= _MOST_SLUG_BEFORE:
            return before
        plain = _plain(name)
        if plain == name and len(name) <= MOST_SLUG:
            return name
        return f"{plain[: MOST_SLUG - 9]}_{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"

    @property
    def slug_before(self) -> str:
        """The slug that recipe 5 gave: it took what follows the last dot of a folder's name for an extension."""
        return _slug_before(self.slide.stem)


def slide_name(slide: Path) -> str:
    """The slide's own name. A folder of DICOM files has no extension, nor has a UID, whose last part is a number."""
    return slide.name if slide.suffix[1:].isdecimal() or slide.is_dir() else slide.stem


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _slug_before(name: str) -> str:
    slug = _plain(name)[:40]
    return slug if slug == name else f"{slug}_{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:6]}"


def read_slide_table(path: Path) -> list[Slide]:
    """Rows in the file's order. Raises UserError with the line for anything that is wrong, a patient in two splits included."""
    if not path.is_file():
        raise UserError("no such slide table", path, "Give the path of a CSV file.")
    table = read_table(path)
    header, rows = table.header, table.rows
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in REQUIRED + OPTIONAL]
    if missing or unknown:
        what = f"missing columns: {', '.join(missing)}" if missing else f"unknown columns: {', '.join(unknown)}"
        raise UserError(
            what, path, f"The header is {','.join(REQUIRED + OPTIONAL)} (the columns from mpp on are optional)."
        )
    if not rows:
        raise UserError("no slides in the table", path, "Add a row for each slide.")
    slides = [_row(path, number, row) for number, row in enumerate(rows, start=2)]
    refuse_split_patients(path, rows_of(slides))
    _check_slugs(path, slides)
    return slides


def _row(path: Path, number: int, row: dict[str, str]) -> Slide:
    where = f"{path} line {number}"
    row = {key: value.strip() for key, value in row.items()}
    for name in ("slide", "patient", "split"):
        if not row[name]:
            raise UserError(f"column {name!r} is empty", where, "Fill it in.")
    if row["split"] not in SPLITS:
        raise UserError(f"split {row['split']!r} is unknown", where, f"Use one of: {', '.join(SPLITS)}.")
    slide = path.parent / row["slide"]
    annotation = path.parent / row["annotation"] if row["annotation"] else None
    for file in (slide, annotation):
        if file is not None and not file.exists():
            raise UserError(f"file {str(file)!r} does not exist", where, "Paths are relative to the slide table.")
    if row.get("origin") and row["origin"] not in ORIGINS:
        raise UserError(
            f"origin {row['origin']!r} is unknown", where, f"Use one of {', '.join(ORIGINS)}, or leave it empty."
        )
    override = row.get("mpp_override", "").lower()
    if override not in ("", "yes", "no"):
        raise UserError(f"mpp_override is {row['mpp_override']!r}", where, "Use yes or no, or leave it empty.")
    if override == "yes" and not row.get("mpp"):
        raise UserError("mpp_override is yes, but column 'mpp' is empty", where, "Fill in mpp.")
    return Slide(
        slide,
        row["patient"],
        row["stain"],
        row["scanner"],
        row["source"],
        row["split"],
        annotation,
        _number(row.get("mpp", ""), "mpp", where),
        _number(row.get("score", ""), "score", where),
        row.get("origin") or None,
        override == "yes",
    )


def _number(text: str, name: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < 1e6 or (name == "mpp" and value == 0):
        raise UserError(f"column {name!r} is not a sensible number: {text!r}", where, "Use a decimal point, no unit.")
    return value


def rows_of(slides: Sequence[Slide]) -> list[Row]:
    """The slides as the checks for leaks see them, with the line that each has in its table."""
    return [Row(line, s.slide.name, s.patient, s.split) for line, s in enumerate(slides, start=2)]


def table_warnings(slides: Sequence[Slide]) -> list[str]:
    """What a person should know of a table that can be used: values that look alike and count as different."""
    named = {name: [getattr(slide, name) for slide in slides] for name in ("patient", "stain", "scanner", "source")}
    return [warning for name, values in named.items() for warning in look_alikes(name, values)]


def _check_slugs(path: Path, slides: list[Slide]) -> None:
    seen: dict[str, tuple[int, Slide]] = {}
    for line, slide in enumerate(slides, start=2):
        first, twin = seen.setdefault(slide.slug, (line, slide))
        if twin is slide:
            continue
        if twin.slide == slide.slide:
            what = f"slide {slide.slide.name!r} is listed twice, in lines {first} and {line}"
            raise UserError(what, path, "Remove one of the rows.")
        what = f"two slides are named {slide.slug!r} in shards: {twin.slide} (line {first}) and {slide.slide} (line {line})"
        raise UserError(what, path, "Rename one of them.")
