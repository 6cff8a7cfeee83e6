"""A run folder small enough for tests: four painted slides cut into shards, random teachers, a few lines of metrics.

Tumour is painted red, others (dcis, fold) blue, background pale; everything in the left three quarters is annotated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml

from mlseg_core.config import validate
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import sha256_file, write_atomic, write_json
from mlseg_dist.config import LearningConfig
from mlseg_dist.model import build_model
from shards import cutting
from shards.config import ShardsConfig
from shards.manifest import Manifest, read_manifest

CLASSES = Path(__file__).parents[2] / "configs" / "classes" / "breast.yaml"
SIZE = 512
MPP = 2.0
SLIDES = (
    ("TCGA-00-AAAA-01Z-00-DX1.00000000-0000-0000-0000-000000000000", "P1", "ER", "Philips", "DS1", "train"),
    ("b", "P2", "ER", "Philips", "DS1", "val"),
    ("c", "P3", "ER", "Philips", "DS1", "test"),
    ("d", "P4", "H&E", "Motic", "DS7", "dev-unseen"),
)
COLOURS = {"Stroma": (232, 214, 226), "Tumor": (200, 70, 80), "DCIS": (70, 70, 200), "Fold": (60, 60, 190)}
ENCODER = {"name": "custom", "width": 0.2, "depth": 0.2, "drop_connect": 0.0}


class KnowsColours:
    """A teacher that is right about the colours below, and nothing else."""

    output = "merged"

    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
        red, blue = (high[..., channel] > 150 for channel in (0, 2))
        answer = np.where(red & ~blue, 1, np.where(blue & ~red, 2, 0))
        return {"merged": np.eye(3, dtype=np.float32)[answer].transpose(0, 3, 1, 2)}


@dataclass(frozen=True)
class TinyRun:
    path: Path
    config: LearningConfig

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.path / "data" / "shards" / "manifest.json")


def tiny_run(folder: Path, table: Path | None = None, cut: Mapping[str, Any] = {}, **changes: object) -> TinyRun:
    """Slides, shards and teachers under folder/run.

    table: other slides than the painted ones. cut: changed keys of `shards`. changes: top-level keys of the config.
    """
    run = folder / "run"
    sampling = {"high_mpp": MPP, "low_mpp": 4 * MPP, "store_px": 64, "stride_um": 64.0, "max_per_class": 12}
    shards = validate({**yaml.safe_load(CLASSES.read_text())["shards"], **sampling, **cut}, ShardsConfig, "test")
    table = paint_slides(folder / "slides") if table is None else table
    units = cutting.units(shards, table)
    assert not run_units(units, cutting.cut, run / "data" / "shards", describe=cutting.describe)
    cutting.write_manifest(shards, table, units, run / "data" / "shards")
    config = validate({**plain_config(), **changes}, LearningConfig, "test")
    for number, step in enumerate(config.steps):
        phase = run / "phases" / f"{2 + number:02d}-{step.name}"
        phase.mkdir(parents=True)
        torch.save(build_model(step.model, 4, 0.1, seed=number).state_dict(), phase / "teacher.pt")
        write_json(phase / "teacher.json", {"weights": "teacher.pt", "sha256": sha256_file(phase / "teacher.pt")})
        write_atomic(phase / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metric_lines()))
    counts = {"background": 700, "tumour": 200, "others": 50}
    groups = {"by_stain": {"ER": {**counts, "rejected": 50}}, "by_slide": {"p1-ER": {**counts, "rejected": 50}}}
    facts = {"accepted": counts, "rejected": 50, "drawn": {}, **groups}
    write_json(run / "data" / "labels-1" / "manifest.json", {"facts": facts})
    return TinyRun(run, config)


def plain_config() -> dict:
    """Two steps, as YAML would give them."""
    base = {"kind": "unet", "encoder": ENCODER, "decoder": {"channels": [16, 8, 8, 8, 8]}}
    master = {**base, "kind": "munet", "merge_channels": 16}
    step = {"epochs": 1, "lr": 0.01, "weights": "static", "label": {"threshold": 0.9}}
    return {
        "name": "tiny",
        "seed": 3,
        "training_classes": yaml.safe_load(CLASSES.read_text())["training_classes"],
        "steps": [{"name": "base", "model": base, **step}, {"name": "master-1", "model": master, **step}],
        "train": {"patch_px": 32, "precision": "fp32", "workers": 1},
        "evaluate": {"batch": 8, "pictures": 4},
    }


def metric_lines() -> list[dict]:
    """As training writes them: three windows of training, one validation."""
    lines: list[dict] = [
        {"kind": "train", "step": s, "loss": 1 / s, "wce": 1 / s, "wdl": 0.5, "accuracy": 0.7, "miou": 0.4}
        for s in (1, 2, 3)
    ]
    return [*lines, {"kind": "val", "step": 3, "miou": 0.5, "iou": {}, "accuracy": 0.8, "wce": 0.4, "wdl": 0.3}]


def paint_slides(folder: Path) -> Path:
    """Tiled TIFFs, GeoJSON and slides.csv."""
    folder.mkdir(parents=True)
    rows = ["slide,patient,stain,scanner,source,split,annotation,mpp"]
    for number, (name, patient, stain, scanner, source, split) in enumerate(SLIDES):
        image = np.full((SIZE, SIZE, 3), 245, np.uint8)
        features = []
        edge = 3 * SIZE // 4
        boxes = [("Stroma", (0, 0, edge, SIZE))]
        boxes += [
            (tissue, (40 + 12 * number, 40 + 150 * row, 300, 150 + 150 * row))
            for row, tissue in enumerate(("Tumor", "DCIS", "Fold"))
        ]
        for tissue, (x0, y0, x1, y1) in boxes:
            image[y0:y1, x0:x1] = COLOURS[tissue]
            ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            features.append(
                {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": tissue}}}
            )
        tifffile.imwrite(folder / f"{name}.tif", image, tile=(256, 256), photometric="rgb")
        write_json(folder / f"{name}.geojson", {"type": "FeatureCollection", "features": features})
        rows.append(f"{name}.tif,{patient},{stain},{scanner},{source},{split},{name}.geojson,{MPP}")
    write_atomic(folder / "slides.csv", "\n".join(rows) + "\n")
    return folder / "slides.csv"
