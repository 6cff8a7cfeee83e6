"""The map's work: one slide -> its folder of files. The audit comes first: what cutting would quarantine is not predicted.

Bytes depend on teacher, slide, settings and kind of device (on a CPU on `train.threads` too), not on who does it or how often.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.csv_text import write_rows
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_core.files import sha256_file
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.device import device_kind
from mlseg_dist.prediction.outlines import Outlines
from mlseg_dist.prediction.plan import (
    AREAS,
    CLASSES_TIF,
    FILES,
    HEATMAP,
    PROBABILITY_TIF,
    REGIONS,
    SUMMARY,
    Prediction,
    file_of,
)
from mlseg_dist.prediction.qupath import write_regions
from mlseg_dist.report.heatmap import Picture, heat_picture
from mlseg_dist.teachers.network import kept_network
from mlseg_dist.teachers.teacher import never_seen
from mlseg_dist.whole_slide.grid import OVERLAP, SlideGrid, make_grid
from mlseg_dist.whole_slide.network import slide_network
from mlseg_dist.whole_slide.opening import open_audited
from mlseg_dist.whole_slide.reading import SlideViews
from mlseg_dist.whole_slide.regions import Everywhere, OnTissue, Region
from mlseg_dist.whole_slide.strips import Facts, WholeSlide
from mlseg_dist.whole_slide.writing import MapCounts, MapFiles
from shards.annotation import Frame
from shards.audit import Audit
from shards.audit.inspect import BadSlide
from shards.cutting.identity import slide_identity
from shards.reader import SlideReader

_THUMBNAIL_PX = 2048


def predict(unit: Unit, scratch: Scratch) -> None:
    """Write the files of one slide. Raises BadSlide, UserError."""
    wanted: Prediction = unit.payload
    config, slide = wanted.teacher.config, wanted.slide
    files = {name: scratch.file(file_of(unit, name)) for name in FILES}
    with open_audited(slide, config.shards, config.views.high_mpp) as (reader, _, audit):
        if not (wanted.everywhere or audit.tissue.mask.any()):
            raise BadSlide("no tissue found on the slide: Otsu's threshold finds only glass")
        grid = make_grid(
            reader.size, reader.mpp, config.views.as_dict(), patch_px=config.views.px, overlap=OVERLAP, cell_px=1
        )
        region: Region = Everywhere(grid) if wanted.everywhere else OnTissue(grid, audit.tissue)
        outlines = Outlines(grid.size[1])
        maps, facts, device = _maps(wanted, reader, grid, region, outlines, files, scratch)
        regions = write_regions(
            files[REGIONS], outlines.finish(), grid, Frame.of(reader), wanted.teacher.annotation_names
        )
        rows = _areas(maps.counts, regions, grid, wanted)
        files[HEATMAP].write_bytes(_picture(wanted, reader, maps))
        files[AREAS].write_text(_csv(rows), encoding="utf-8")
        _check_still(wanted)
        summary = _summary(wanted, reader, audit, grid, facts, maps.counts, rows, device)
    summary["files"] = {name: sha256_file(path) for name, path in files.items() if name != SUMMARY}
    files[SUMMARY].write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _refuse_others(scratch)


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """What is told of a slide in one line: areas in mm², warnings."""
    found = json.loads(files[file_of(unit, SUMMARY)].read_bytes())
    return {name: found[name] for name in ("slide", "tissue_mm2", "areas_mm2", "warnings")}


def _maps(
    wanted: Prediction,
    reader: SlideReader,
    grid: SlideGrid,
    region: Region,
    outlines: Outlines,
    files: dict[str, Path],
    scratch: Scratch,
) -> tuple[MapFiles, Facts, str]:
    config = wanted.teacher.config
    threads = threads_for(wanted.teacher.workers)
    network = slide_network(kept_network(wanted.teacher), config.views.ratio)
    with SlideViews(reader, config.views.high_mpp, config.views.low_mpp, threads) as views:
        whole = WholeSlide(views, network, grid, region, config.batch, threads, done=scratch.advance)
        with MapFiles(grid, config.operating.threshold, files[CLASSES_TIF], files[PROBABILITY_TIF]) as maps:
            for strip in whole.strips():
                outlines.add(*maps.add(strip))
    return maps, whole.facts, device_kind(network.device)


def _areas(counts: MapCounts, regions: dict[str, int], grid: SlideGrid, wanted: Prediction) -> list[dict[str, Any]]:
    """A row a class, and one for what has no answer."""
    names = wanted.teacher.annotation_names
    cells = {**counts.classes, "no answer": counts.unanswered}
    return [
        {
            "class": name,
            "annotation": names.get(name, ""),
            "mm2": _mm2(count, grid),
            "share": round(count / counts.region, 6) if counts.region else 0.0,
            "regions": regions.get(name, 0),
        }
        for name, count in cells.items()
    ]


def _mm2(cells: int, grid: SlideGrid) -> float:
    return round(cells * grid.cell_um**2 / 1e6, 6)


def _csv(rows: list[dict[str, Any]]) -> str:
    return write_rows([list(rows[0]), *(list(row.values()) for row in rows)])


def _picture(wanted: Prediction, reader: SlideReader, maps: MapFiles) -> bytes:
    classes, levels = maps.overview
    counts, known = maps.counts, classes != IGNORED
    size_um = (reader.size[0] * reader.mpp[0], reader.size[1] * reader.mpp[1])
    grid_mm2 = {name: _mm2(count, maps.grid) for name, count in counts.classes.items()}
    probabilities = levels.transpose(2, 0, 1).astype(np.float32) / 255
    return heat_picture(
        Picture(
            wanted.slide.slide.name,
            f"{wanted.teacher.config.campaign}, {wanted.teacher.config.step}",
            reader.thumbnail(_THUMBNAIL_PX),
            probabilities,
            classes,
            known,
            size_um,
            grid_mm2,
        )
    )


def _summary(
    wanted: Prediction,
    reader: SlideReader,
    audit: Audit,
    grid: SlideGrid,
    facts: Facts,
    counts: MapCounts,
    rows: list[dict[str, Any]],
    device: str,
) -> dict[str, Any]:
    config, slide = wanted.teacher.config, wanted.slide
    given = {"stain": slide.stain, "scanner": slide.scanner}
    unknown = [
        f"Nobody said the slide's {name}: --{name}, or a slide table." for name, value in given.items() if not value
    ]
    left, top, *_ = reader.bounds or (0, 0)
    return {
        "version": 1,
        "slide": slide.slide.name,
        "identity": wanted.identity,
        **given,
        "size": list(reader.size),
        "mpp": list(reader.mpp),
        "qupath_origin": [left, top],
        "warnings": [*never_seen(config.seen, given), *audit.flags.values()],
        "not_known": unknown,
        "teacher": {
            "campaign": config.campaign,
            "step": config.step,
            "weights_sha256": config.weights_sha256,
            "corpus_sha256": config.corpus_sha256,
            **config.operating.model_dump(mode="json"),
        },
        "classes": {
            name: {"value": number, "annotation": rows[number]["annotation"]} for number, name in enumerate(CLASSES)
        },
        "audit": {"measures": audit.measures, "flags": audit.flags},
        "cell_um": grid.cell_um,
        "cell_level0": list(grid.cell_level0),
        "rows": grid.size[0],
        "columns": grid.size[1],
        "region": "all" if wanted.everywhere else "tissue",
        "forwards_per_area": round(grid.forwards_per_area, 4),
        "device": device,
        **vars(facts),
        "tissue_mm2": _mm2(counts.region, grid),
        "unanswered_mm2": _mm2(counts.unanswered, grid),
        "areas_mm2": {name: _mm2(count, grid) for name, count in counts.classes.items()},
    }


def _check_still(wanted: Prediction) -> None:
    """Raises BadSlide for a slide that was replaced meanwhile: nobody knows which of its px are whose."""
    try:
        same = slide_identity(wanted.slide.slide, wanted.identity) == wanted.identity
    except OSError as error:
        raise BadSlide(f"the slide cannot be read ({error.strerror}): check the file and its rights") from None
    if not same:
        raise BadSlide("the slide was replaced while it was read")


def _refuse_others(scratch: Scratch) -> None:
    """The first to publish wins, so that a file of somebody else would pass for ours. Raises UserError."""
    for name, made in scratch.paths.items():
        there = scratch.folder / name
        if there.exists() and sha256_file(there) != sha256_file(made):
            what = "is not the file that mlseg makes here, and would be taken for it"
            raise UserError(what, there, "Move it away, or name another folder with --out.")
