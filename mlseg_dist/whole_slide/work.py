"""The engine as an exactly-once map over slides: a unit is a slide, its files are the two maps and their facts.

`mlseg_core.exactly_once.run` runs it: `run_units` on a node of a SLURM array, `map_in_processes` on this machine. A unit's files
depend on the teacher, the slide, what is asked for, and the kind of device only; on a CPU, whose sums depend on how many threads
share them, that number is part of it (`train.threads`, 1 unless the config says otherwise).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_core.files import fingerprint, sha256_file, write_json
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.device import device_kind
from mlseg_dist.evaluation import operating_point
from mlseg_dist.inference import kept_teacher
from mlseg_dist.run_folder import shards_folder, teacher_record
from mlseg_dist.sides import check_side
from mlseg_dist.whole_slide.grid import SlideGrid, make_grid
from mlseg_dist.whole_slide.network import slide_network
from mlseg_dist.whole_slide.opening import open_audited
from mlseg_dist.whole_slide.reading import SlideViews
from mlseg_dist.whole_slide.regions import Annotated, Everywhere, OnTissue, Region, RegionName, full_blend
from mlseg_dist.whole_slide.strips import OVERLAP, WholeSlide, view_side
from mlseg_dist.whole_slide.writing import MapFiles
from shards.annotation import Annotation
from shards.audit.tissue import TissueMask
from shards.config import ShardsConfig
from shards.cutting.identity import slide_identity
from shards.manifest import kept_manifest
from shards.slide_table import Slide

RECIPE = 1
"""Raise it when the same inputs give other bytes."""
CLASSES_TIF, PROBABILITIES_TIF, FACTS_JSON = "classes.tif", "probabilities.tif", "json"


@dataclass(frozen=True)
class MapOptions:
    """What is asked for. overlap: of patches, share of their side. cell_px: high px that become one cell of the maps.

    view_px: side of the patches; None: view_side.
    """

    region: RegionName = "tissue"
    overlap: float = OVERLAP
    cell_px: int = 1
    view_px: int | None = None
    probabilities: bool = True


@dataclass(frozen=True)
class _Payload:
    config: LearningConfig
    step_index: int
    run: Path
    shards: ShardsConfig
    slide: Slide
    options: MapOptions


def units(
    config: LearningConfig,
    step_index: int,
    run: Path,
    shards: ShardsConfig,
    slides: Sequence[Slide],
    options: MapOptions,
) -> list[Unit]:
    """One unit a slide. step_index: of the teacher. shards: how the corpus was cut. Raises UserError."""
    corpus = kept_manifest(shards_folder(run) / "manifest.json")
    check_side(config.steps[step_index].model, corpus.ratio, options.view_px or view_side(corpus), "the views")
    inputs = {
        "recipe": RECIPE,
        "teacher": teacher_record(run, config.steps[step_index].name)["sha256"],
        "precision": config.train.precision,
        "threads": config.train.threads or 1,
        "batch": config.evaluate.batch,
        "threshold": _threshold(config, step_index, run),
        "views": {name: corpus.views[name] for name in ("high_mpp", "low_mpp", "store_px")},
        "tissue": shards.tissue.model_dump(mode="json"),
        "audit": shards.audit.model_dump(mode="json"),
        "options": asdict(options),
    }
    made = []
    for slide in slides:
        if options.region == "annotations" and slide.annotation is None:
            raise UserError(
                "the slide has no annotation to predict in", slide.slide, "Choose the region tissue or all."
            )
        try:
            own: dict[str, Any] = {"slide": slide_identity(slide.slide), "mpp": slide.mpp, "name": slide.slug}
            if slide.annotation is not None:  # the audit asks how it lies on the slide
                own["annotation"] = [sha256_file(slide.annotation), slide.origin, shards.annotation_classes]
            cost = float(slide.slide.stat().st_size)
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", error.filename, "Check the slide table.") from None
        payload = _Payload(config, step_index, run, shards, slide, options)
        made.append(Unit(slide.slug, fingerprint({**inputs, **own}), payload, cost))
    return made


def names(unit: Unit) -> dict[str, str]:
    """Kind of file -> its published name."""
    kinds = [CLASSES_TIF, *([PROBABILITIES_TIF] if unit.payload.options.probabilities else []), FACTS_JSON]
    return {kind: f"{unit.name}-{unit.inputs[:8]}.{kind}" for kind in kinds}


def predict(unit: Unit, scratch: Scratch) -> None:
    """Write a slide's maps and facts. Raises BadSlide for one that cutting would put into quarantine, UserError."""
    wanted: _Payload = unit.payload
    config, shards, slide, options = wanted.config, wanted.shards, wanted.slide, wanted.options
    corpus = kept_manifest(shards_folder(wanted.run) / "manifest.json")
    high_mpp, low_mpp = corpus.views["high_mpp"], corpus.views["low_mpp"]
    threads = threads_for(config.train.workers)
    with open_audited(slide, shards, high_mpp) as (reader, annotation, audit):
        teacher = kept_teacher(config, wanted.step_index, wanted.run)
        side = options.view_px or view_side(corpus)
        grid = make_grid(
            reader.size, reader.mpp, corpus.views, patch_px=side, overlap=options.overlap, cell_px=options.cell_px
        )
        region = region_of(options.region, grid, audit.tissue, annotation)
        halo = full_blend(grid) if options.region == "annotations" else 0
        network = slide_network(teacher, corpus.ratio)
        with SlideViews(reader, high_mpp, low_mpp, threads) as views:
            whole = WholeSlide(views, network, grid, region, config.evaluate.batch, threads, halo, done=scratch.advance)
            files = {kind: scratch.file(name) for kind, name in names(unit).items()}
            with MapFiles(
                grid,
                _threshold(config, wanted.step_index, wanted.run),
                files[CLASSES_TIF],
                files.get(PROBABILITIES_TIF),
            ) as maps:
                for strip in whole.strips():
                    maps.add(strip)
    write_json(
        files[FACTS_JSON],
        {
            "version": 1,
            "slide": slide.slide.name,
            "region": options.region,
            "device": device_kind(network.device),
            "rows": grid.size[0],
            "columns": grid.size[1],
            "cell_um": grid.cell_um,
            "cell_level0": list(grid.cell_level0),
            "forwards_per_area": round(grid.forwards_per_area, 4),
            **asdict(whole.facts),
            "cells": asdict(maps.counts),
        },
    )


def _threshold(config: LearningConfig, step_index: int, run: Path) -> float:
    return operating_point.of_teacher(run, config.steps[step_index].name, config).threshold


def region_of(name: RegionName, grid: SlideGrid, tissue: TissueMask, annotation: Annotation | None) -> Region:
    """annotation: needed for `annotations`."""
    if name == "all":
        return Everywhere(grid)
    if name == "tissue":
        return OnTissue(grid, tissue)
    assert annotation is not None
    return Annotated(grid, annotation)


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """What the slide's own facts say."""
    facts: dict[str, Any] = json.loads(files[names(unit)[FACTS_JSON]].read_bytes())
    return facts
