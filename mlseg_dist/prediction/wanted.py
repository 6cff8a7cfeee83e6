"""What a person names on the command line -> the slides to predict. Loads no torch: a mistake is told at once."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_dist.teachers.teacher import Teacher
from mlseg_dist.whole_slide.opening import open_named
from shards.pyramids.opening import first_dicom
from shards.scale import ScaleConflict, ScaleUnknown
from shards.slide_table import Slide, read_slide_table

MOST_OPENED = 32
"""So many slides are opened before the network is loaded; mistakes in more of them show when it is their turn."""


@dataclass(frozen=True)
class Given:
    """What the command line says of all slides that it names.

    mpp: of level 0, for slides that do not say it, or, with `override`, say it wrongly. stain, scanner: "" where nobody says it.
    """

    mpp: float | None = None
    override: bool = False
    stain: str = ""
    scanner: str = ""


def find_slides(words: Sequence[str], given: Given) -> list[Slide]:
    """words: slide files, folders of one DICOM slide, globs, and slide tables (.csv). Each slide once, in the order given.

    Raises UserError for what does not exist.
    """
    if given.mpp is not None and not 0.01 < given.mpp < 100:
        raise UserError(
            f"{given.mpp:g} µm/px is no sensible resolution", "--mpp", "Give µm per level-0 px, for example 0.25."
        )
    if given.override and given.mpp is None:
        raise UserError("--mpp-override without --mpp", "command line", "Add --mpp, the µm/px of level 0.")
    found: dict[Path, Slide] = {}
    for word in words:
        for slide in _of_word(word, given):
            found.setdefault(slide.slide.resolve(), slide)
    return list(found.values())


def _of_word(word: str, given: Given) -> list[Slide]:
    path = Path(word)
    if path.suffix.lower() == ".csv" and path.is_file():
        rows = read_slide_table(path)
        if given.mpp is not None:
            raise UserError("--mpp with a slide table", path, "Fill in its column mpp instead.")
        # People's labels are no part of it: the audit of two slides with equal pixels is to be the same.
        return [replace(row, annotation=None, origin=None) for row in rows]
    if not path.exists() and glob.has_magic(word):
        paths = sorted(Path(name) for name in glob.glob(word, recursive=True))  # noqa: PTH207  (absolute patterns too)
        if not paths:
            raise UserError("no file matches", word, "Check the pattern.")
        return [_named(one, given) for one in paths]
    if not path.exists():
        raise UserError("no such slide", path, "Check the path.")
    return [_named(path, given)]


def _named(path: Path, given: Given) -> Slide:
    if path.is_dir():
        first_dicom(path)  # raises UserError for a folder of something else
    elif not path.is_file():
        raise UserError("is neither a file nor a folder", path, "Name a slide file, or a folder of one DICOM slide.")
    return Slide(path, "", given.stain, given.scanner, "", "", None, given.mpp, None, None, given.override)


def check_scales(slides: Sequence[Slide], teacher: Teacher) -> None:
    """Raises UserError for the first slide whose µm/px is unknown, contradicts what was given, or is too coarse.

    A slide that cannot be opened is no mistake of the command line: it is put into quarantine when its turn comes.
    """
    for slide in slides[:MOST_OPENED]:
        try:
            open_named(slide.slide, teacher.config.views.high_mpp, slide.mpp, slide.mpp_override).close()
        except (ScaleUnknown, ScaleConflict) as error:
            raise UserError(error.what, error.where, error.fix) from None
        except UserError as error:
            if "µm/px" in error.what:
                raise
        except OSError:
            continue
