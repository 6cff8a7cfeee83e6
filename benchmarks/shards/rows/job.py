"""A job as a file: the config, the slide table, and where every patch lies, the same list for every row."""

import json
from pathlib import Path
from typing import Any

from mlseg_core.config import validate
from shards.annotation import Frame, read_annotation
from shards.audit import audit_slide
from shards.config import ShardsConfig
from shards.reader import open_slide
from shards.sampling import choose_seeds
from shards.slide_table import read_slide_table


def write_job(path: Path, settings: dict[str, Any], table: Path) -> int:
    """Choose the patches as a build of `table` with these settings does. Returns their number."""
    config = validate(settings, ShardsConfig, "benchmark")
    slides = []
    for slide in read_slide_table(table):
        with open_slide(slide, config.high_mpp) as reader:
            annotation = (
                read_annotation(slide.annotation, config, Frame.of(reader, slide.origin)) if slide.annotation else None
            )
            tissue = audit_slide(reader, config.tissue, config.audit).tissue
            seeds = choose_seeds(config, slide.slug, slide.split, reader.size, reader.mpp, annotation, tissue).seeds
            step = [config.high_mpp / mpp for mpp in reader.mpp]
            centers = [[seed.column * step[0], seed.row * step[1]] for seed in seeds]
            slides.append({"path": str(slide.slide), "slug": slide.slug, "mpp": list(reader.mpp), "centers": centers})
    job = {
        "settings": settings,
        "table": str(table),
        "slides": slides,
        "store_px": config.store_px,
        "views": {"high": config.high_mpp, "low": config.low_mpp},
        "quality": config.jpeg_quality,
        "share": 1.0,
    }
    path.write_text(json.dumps(job))
    return sum(len(slide["centers"]) for slide in slides)


def load(job: dict[str, Any]) -> tuple[ShardsConfig, Path]:
    """The config and the slide table of a job."""
    return validate(job["settings"], ShardsConfig, "benchmark"), Path(job["table"])
