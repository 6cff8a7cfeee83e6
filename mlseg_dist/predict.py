"""A slide and a teacher in; a heat map that a person can look at, a class map and areas out.

The engine in mlseg_dist/whole_slide predicts. The map is coarse (at most MAP_PX a side), so that all of it fits into memory.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import write_atomic, write_json
from mlseg_core.own import refuse_foreign
from mlseg_core.progress import Progress
from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.evaluation import operating_point
from mlseg_dist.inference import load_teacher
from mlseg_dist.report.heatmap import Picture, class_picture, heat_picture
from mlseg_dist.run_folder import shards_folder
from mlseg_dist.whole_slide.grid import SlideGrid, coarse_enough, make_grid
from mlseg_dist.whole_slide.network import slide_network
from mlseg_dist.whole_slide.opening import audit_named, open_named
from mlseg_dist.whole_slide.reading import SlideViews
from mlseg_dist.whole_slide.regions import OnTissue
from mlseg_dist.whole_slide.strips import OVERLAP, WholeSlide, view_side
from shards.audit.config import AuditConfig, TissueConfig
from shards.audit.inspect import BadSlide
from shards.audit.tissue import TissueMask
from shards.manifest import Manifest, read_manifest
from shards.reader import SlideReader

_SUMMARY, _HEATMAP, _CLASSES = "summary.json", "heatmap.png", "classes.png"
_TISSUE, _AUDIT = TissueConfig(), AuditConfig()
MAP_PX = 4096
"""Most cells of the map along a side."""


def predict_slide(
    config: LearningConfig,
    step_index: int,
    run: Path,
    slide: Path,
    out: Path,
    mpp: float | None = None,
    override: bool = False,
    tissue: TissueConfig = _TISSUE,
    audit: AuditConfig = _AUDIT,
) -> dict[str, Any]:
    """Write out/heatmap.png, out/classes.png and out/summary.json; returns the summary (areas in mm²).

    mpp: level-0 µm/px of a slide that does not say it itself, or says it wrongly, which `override` confirms.
    tissue, audit: the corpus' own; a slide that they put into quarantine is refused.
    Raises UserError, also where files of somebody else have these names.
    """
    outputs = [out / name for name in (_SUMMARY, _HEATMAP, _CLASSES)]
    is_ours = _is_summary(outputs[0])  # it is written last, and vouches for the pictures
    refuse_foreign(outputs, lambda path: is_ours)
    corpus = read_manifest(shards_folder(run) / "manifest.json")
    with open_named(slide, corpus.views["high_mpp"], mpp, override) as reader:
        found = audit_named(reader, tissue, audit)
        try:
            picture, facts = _predict(config, step_index, run, corpus, reader, found.tissue)
        except BadSlide as error:
            raise UserError(str(error), slide, "Look at the slide there, and at the teacher.") from None
        summary: dict[str, Any] = {
            "slide": slide.name,
            "step": picture.step,
            "threshold": facts.pop("threshold"),
            "mpp": list(reader.mpp),
            **facts,
            "areas_mm2": picture.areas_mm2,
        }
    write_atomic(out / _HEATMAP, heat_picture(picture))
    write_atomic(out / _CLASSES, class_picture(picture))
    write_json(out / _SUMMARY, summary)
    return summary


def _predict(
    config: LearningConfig, step_index: int, run: Path, corpus: Manifest, reader: SlideReader, tissue: TissueMask
) -> tuple[Picture, dict[str, Any]]:
    """The pictures' content and the summary's figures. Raises BadSlide."""
    views, side = corpus.views, view_side(corpus)
    network = slide_network(load_teacher(config, step_index, run), corpus.ratio)
    cell_px = coarse_enough(reader.size, reader.mpp, views["high_mpp"], side, MAP_PX)
    grid = make_grid(reader.size, reader.mpp, views, patch_px=side, overlap=OVERLAP, cell_px=cell_px)
    threads = threads_for(config.train.workers)
    step = config.steps[step_index].name
    threshold = operating_point.of_teacher(run, step, config).threshold
    probabilities = np.empty((len(CLASSES), *grid.size), np.float32)
    classes, on_tissue, bad = np.empty(grid.size, np.uint8), np.empty(grid.size, bool), np.empty(grid.size, bool)
    with SlideViews(reader, views["high_mpp"], views["low_mpp"], threads) as planes:
        whole = WholeSlide(planes, network, grid, OnTissue(grid, tissue), config.evaluate.batch, threads)
        progress = Progress(f"predict {reader.path.name}", whole.facts.patches, "patches")
        whole.done = progress.advance
        for strip in whole.strips():
            rows = slice(strip.top, strip.top + len(strip.region))
            probabilities[:, rows] = strip.probabilities.cpu().numpy()
            classes[rows] = strip.classes(threshold).cpu().numpy()
            on_tissue[rows], bad[rows] = strip.region, strip.bad()
        progress.finish()
    areas = {name: _area(on_tissue & (classes == number), grid) for number, name in enumerate(CLASSES)}
    size_um = (reader.size[0] * reader.mpp[0], reader.size[1] * reader.mpp[1])
    facts = {
        "threshold": threshold,
        "patches": whole.facts.patches,
        "forwards_per_area": round(grid.forwards_per_area, 3),
        "cell_um": grid.cell_um,
        "tissue_mm2": _area(on_tissue, grid),
        "unanswered_mm2": _area(bad, grid),
    }
    picture = Picture(reader.path.name, step, reader.thumbnail(2048), probabilities, classes, on_tissue, size_um, areas)
    return picture, facts


def _is_summary(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"slide", "step", "patches", "areas_mm2"} <= found.keys()


def _area(cells: np.ndarray, grid: SlideGrid) -> float:
    return round(float(cells.sum()) * grid.cell_um**2 / 1e6, 6)
