"""The map's work: one network over the annotations of one slide -> its counts, and a small picture of them.

A unit's bytes depend on the teacher, the slide, the settings and the kind of device only (on a CPU on `train.threads` too). A
slide that cannot be scored does not stop the evaluation: its file says why instead.
"""

import json
from pathlib import Path
from typing import Any

from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_dist.data.corpus import class_table
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.evaluation.counting import SlideCounter
from mlseg_dist.evaluation.plan import Pass
from mlseg_dist.evaluation.slide_counts import SlideCounts
from mlseg_dist.whole_slide.grid import SlideGrid, make_grid
from mlseg_dist.whole_slide.network import slide_network
from mlseg_dist.whole_slide.opening import open_audited
from mlseg_dist.whole_slide.reading import SlideViews
from mlseg_dist.whole_slide.regions import Annotated, full_blend
from mlseg_dist.whole_slide.strips import WholeSlide
from shards.audit.inspect import BadSlide
from shards.cutting.identity import slide_identity


def prepare(unit: Unit) -> None:
    """Load a unit's teacher before any unit begins: an error in it is not a slide's. Raises UserError."""
    one: Pass = unit.payload
    one.subject.predictor(one.step)


def count(unit: Unit, scratch: Scratch) -> None:
    """Write UNIT.json, and UNIT.png unless the slide cannot be scored. Raises UserError."""
    one: Pass = unit.payload
    facts = {
        "version": 1,
        "slide": one.scored.slide.slug,
        "step": one.step_name,
        "teacher": one.teacher,
        "threshold": one.threshold,
        "grid": one.subject.facts_of_grid(),
    }
    try:
        grid, counts, picture = _counted(one, scratch)
    except BadSlide as error:
        facts["not_scored"] = str(error)
    else:
        facts["map"] = {"rows": grid.size[0], "columns": grid.size[1], "mpp": list(grid.mpp)}
        facts["counts"] = counts.to_json()
        scratch.open(f"{unit.name}.png").write(picture)
    scratch.open(f"{unit.name}.json").write(json.dumps(facts, separators=(",", ":")).encode() + b"\n")


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """slide, step; not_scored: why, or ""."""
    found = json.loads(files[f"{unit.name}.json"].read_bytes())
    return {"slide": found["slide"], "step": found["step"], "not_scored": found.get("not_scored", "")}


def _counted(one: Pass, scratch: Scratch) -> tuple[SlideGrid, SlideCounts, bytes]:
    """The map's grid, counts, and the overview as PNG. Raises BadSlide, UserError."""
    subject, slide = one.subject, one.scored.slide
    config, corpus = subject.config, subject.corpus
    settings, threads = config.evaluate, threads_for(config.train.workers)
    high_mpp, low_mpp = corpus.views["high_mpp"], corpus.views["low_mpp"]
    with open_audited(slide, subject.shards, high_mpp) as (reader, annotation, _):
        assert annotation is not None
        network = slide_network(subject.predictor(one.step), corpus.ratio)
        grid = make_grid(reader.size, reader.mpp, corpus.views, patch_px=one.view_px, overlap=settings.overlap)
        region = Annotated(grid, annotation)
        table = class_table(corpus.classes, config.training_classes)
        columns = region.columns if region.columns[0] < region.columns[1] else None
        counter = SlideCounter(grid, table, one.threshold, settings.boundary_um, network.device, columns)
        with SlideViews(reader, high_mpp, low_mpp, threads) as views:
            whole = WholeSlide(
                views, network, grid, region, settings.batch, threads, full_blend(grid), done=scratch.advance
            )
            for strip in whole.strips():
                counter.add(strip, region.fine(strip.top, strip.top + len(strip.region)))
    _check_still(one)
    return grid, counter.finish(), counter.overview.encode()


def _check_still(one: Pass) -> None:
    """Raises BadSlide for a slide that was replaced meanwhile: nobody knows which of its px are whose."""
    recorded = one.scored.inputs["slide"]
    if slide_identity(one.scored.slide.slide, recorded) != recorded:
        raise BadSlide("the slide was replaced while it was read")
