"""Ways through a corpus: forward alone, ours with either decoder, the serial way that ours replaces. Out: seconds, CPU seconds."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from mlseg_core.exactly_once.run import Scratch, Unit, run_units
from mlseg_core.files import sha256_file, write_json
from mlseg_dist import labelling
from mlseg_dist.config import LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.labels import Accepting, codes_of_views
from mlseg_dist.inference import Predictor, load_teacher
from mlseg_dist.labelling.loading import Batch, DecodedBatch
from mlseg_dist.labelling.pipeline import Codes, batches_of
from mlseg_dist.model import build_model
from mlseg_dist.run_folder import shards_folder
from shards.manifest import Manifest, read_manifest
from shards.outside import Outside
from shards.sample import decode_rgb, encode_json, encode_png
from shards.tar import ShardReader, write_shard


@dataclass(frozen=True)
class Timing:
    """One pass over the corpus. cpu_s: user and system time of all threads."""

    pairs: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.pairs / self.seconds


class Bench:
    """A run folder with shards and a teacher of random weights for the only step of `config`, and its views in memory."""

    def __init__(self, config: LearningConfig, run: Path) -> None:
        self.config, self.run = config, run
        self.corpus: Manifest = read_manifest(shards_folder(run) / "manifest.json")
        phase = run / "phases" / f"02-{config.steps[0].name}"
        phase.mkdir(parents=True)
        model = build_model(config.steps[0].model, self.corpus.ratio, config.train.bn_momentum, seed=0)
        torch.save(model.state_dict(), phase / "teacher.pt")
        write_json(phase / "teacher.json", {"weights": "teacher.pt", "sha256": sha256_file(phase / "teacher.pt")})
        self.teacher: Predictor = load_teacher(config, 0, run, config.steps[0].label.tta)
        self.units: list[Unit] = labelling.units(config, 0, run)
        self.batches = [batch for unit in self.units for batch in self._decoded(unit)]

    @property
    def pairs(self) -> int:
        return self.corpus.totals["samples"]

    def forward(self, _: Path) -> None:
        """Batches that lie decoded in memory, through the network to codes on the host. Nothing is read or written."""
        codes = [Codes(self.teacher, batch, self.config.steps[0].label.stride) for batch in self.batches]
        codes[-1].of(0)

    def ours(self, folder: Path) -> None:
        """The map of a label phase: read, decode, label, encode, write, sync, index, count, hash."""
        failed = run_units(self.units, labelling.label, folder, describe=labelling.describe)
        assert not failed, failed

    def on_dali(self, folder: Path) -> None:
        """The same, views decoded by DALI on the GPU."""
        step = self.config.steps[0]
        step = step.model_copy(update={"label": step.label.model_copy(update={"decode_on": "gpu"})})
        units = labelling.units(self.config.model_copy(update={"steps": (step,)}), 0, self.run)
        failed = run_units(units, labelling.label, folder, describe=labelling.describe)
        assert not failed, failed

    def serial(self, folder: Path) -> None:
        """The same, one step after another; probabilities come back from the device as float32."""
        config = self.config.model_copy(update={"train": self.config.train.model_copy(update={"workers": 1})})
        units = labelling.units(config, 0, self.run)
        failed = run_units(units, self._label_serially, folder, describe=labelling.describe)
        assert not failed, failed

    def timed(self, row: Callable[[Path], None]) -> Timing:
        with TemporaryDirectory(dir=self.run) as name:
            begun, cpu = time.perf_counter(), time.process_time()
            row(Path(name))
            return Timing(self.pairs, time.perf_counter() - begun, time.process_time() - cpu)

    def _decoded(self, unit: Unit) -> list[Batch]:
        made: list[Batch] = []
        with self._open(unit) as shard:
            for rows in batches_of(len(shard), self.config.steps[0].label.batch):
                side = round(self.corpus.views["store_px"])
                made.append(DecodedBatch(rows, side, self.teacher.device.type == "cuda"))
                for position in range(len(rows)):
                    made[-1].read(shard, position)
        return made

    def _open(self, unit: Unit) -> ShardReader:
        return ShardReader(shards_folder(self.run) / unit.payload[3], self.corpus.members)

    def _label_serially(self, unit: Unit, scratch: Scratch) -> None:
        settings = self.config.steps[0].label
        stride, accepted = settings.stride, Accepting.from_settings(settings).table("high")
        outside = Outside(self.corpus)
        samples = []
        with self._open(unit) as shard:
            for rows in batches_of(len(shard), settings.batch):
                members = [shard.read(row) for row in rows]
                views = [np.stack([decode_rgb(m[f"{view}.jpg"]) for m in members]) for view in ("high", "low")]
                predicted = self.teacher.predict(*views)
                for position, row in enumerate(rows):
                    codes = {head: _codes(p[position], stride) for head, p in predicted.items()}
                    high, low = codes_of_views(codes, self.corpus.ratio, accepted, outside.of_row(shard, row, stride))
                    info = encode_json({"version": 1, "of": shard.key(row), "device": "cpu"})
                    samples.append(
                        (shard.key(row), {"high.png": encode_png(high), "low.png": encode_png(low), "json": info})
                    )
        write_shard(scratch.open(unit.payload[4]), samples)


def _codes(probabilities: np.ndarray, stride: int) -> np.ndarray:
    """Codes of one map, in numpy."""
    classes, height, width = probabilities.shape
    cells = probabilities.reshape(classes, height // stride, stride, width // stride, stride).mean(axis=(2, 4))
    level = np.floor(cells.max(axis=0) * (labels.LEVELS - 1) + 1e-6).astype(np.uint8)
    return (cells.argmax(axis=0) * labels.LEVELS + level).astype(np.uint8)


def said(timing: Timing) -> str:
    return json.dumps({"pairs/s": round(timing.rate, 3), "cpu_s": round(timing.cpu_s, 2)})
