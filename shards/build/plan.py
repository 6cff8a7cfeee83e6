"""Slide table -> one unit a slide. Mistakes that a user can mend are found here, before any work."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint
from mlseg_core.map import Unit
from shards.annotation import read_annotation
from shards.build.inputs import slide_files, slide_inputs
from shards.config import ShardsConfig
from shards.reader import open_slide
from shards.slide_table import Slide, read_slide_table

_THREADS = 8  # files may lie on a slow network


def units(config: ShardsConfig, slides_csv: Path) -> list[Unit]:
    """One unit a slide; payload: (config, slide, inputs by part). Raises UserError for a table that makes no sense."""
    slides = _readable_table(slides_csv)
    with ThreadPoolExecutor(_THREADS) as pool:
        inputs = list(pool.map(lambda slide: slide_inputs(config, slide), slides))
    return [
        Unit(slide.slug, fingerprint(parts), (config, slide, parts), cost=_cost(slide))
        for slide, parts in zip(slides, inputs, strict=True)
    ]


def _cost(slide: Slide) -> float:
    return sum(file.stat().st_size for file in slide_files(slide.slide)) / 2**20


def check_slides(config: ShardsConfig, slides_csv: Path) -> dict[str, UserError]:
    """Slug -> what is wrong with the slide or its annotation: these will be quarantined.

    Raises UserError when the table makes no sense, or when more than `max_quarantined` of its slides are bad: then it is
    the table or the class map that wants mending, before any work.
    """
    slides = _readable_table(slides_csv)
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda slide: _problem(config, slide), slides))
    bad = {slide.slug: problem for slide, problem in zip(slides, found, strict=True) if problem is not None}
    if len(bad) > config.max_quarantined * len(slides):
        first = next(iter(bad.values()))
        more = f" (and {len(bad) - 1} more of {len(slides)} slides are bad)" if len(bad) > 1 else ""
        raise UserError(f"{first.what.rstrip('.')}{more}", first.where, first.mend)
    return bad


def _problem(config: ShardsConfig, slide: Slide) -> UserError | None:
    try:
        with open_slide(slide, config.high_mpp) as reader:
            if slide.annotation is not None:
                read_annotation(slide.annotation, config, reader.size, reader.mpp)
    except UserError as error:
        return error
    return None


def _readable_table(slides_csv: Path) -> list[Slide]:
    slides = read_slide_table(slides_csv)
    for slide in slides:
        if slide.annotation is None and slide.split != "train":
            where = f"{slides_csv}: {slide.slide.name}"
            raise UserError(f"slide of split {slide.split} has no annotation", where, "Annotate it, or drop its row.")
    if not any(slide.split == "train" for slide in slides):
        raise UserError("no slide of split train", slides_csv, "Mark the slides to learn from as train.")
    return slides
