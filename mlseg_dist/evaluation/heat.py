"""Heat maps of example pairs: how sure the last step is of tumour and of others, red where it is confident (the paper's figure 1).

In: evaluation.json, whose examples they are of. Out: pictures/heat-FILE beside each of those examples.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mlseg_core.files import write_atomic
from mlseg_dist.config import CLASSES
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.data.views import parts_of, read_centres
from mlseg_dist.evaluation.drawn import png
from mlseg_dist.evaluation.pictures import TILE_PX, side_by_side
from mlseg_dist.evaluation.plan import Subject
from mlseg_dist.report.heatmap import HEAT
from mlseg_dist.run_folder import shards_folder
from mlseg_dist.whole_slide.network import slide_network

PREFIX = "heat-"
MOST = 4
"""Pairs of a split that are drawn."""


def write(subject: Subject, evaluation: dict[str, Any], folder: Path) -> list[str]:
    """Write folder/heat-FILE; returns the names. folder: of the evaluation's pictures. Raises BadPair, UserError."""
    config = subject.config
    entries: list[dict[str, Any]] = []
    for split in config.evaluate.splits:
        of_split = [one for one in evaluation["pictures"] if one["kind"] == "example" and one["split"] == split]
        entries += of_split[:MOST]
    if not entries:
        return []
    corpus = Corpus(shards_folder(subject.run), dict(config.training_classes))
    slides = {one["slide"] for one in entries}
    shards = [number for number, shard in enumerate(corpus.manifest.shards) if shard.slide in slides]
    known = {ref.key: ref for ref in corpus.refs_in(shards)}
    refs = [known[one["key"]] for one in entries]
    step = subject.own_steps[-1]
    teacher = subject.predictor(config.steps.index(step))
    network = slide_network(teacher, corpus.manifest.ratio)
    titles = ["high view", *(f"{step.name}: {name}" for name in CLASSES[1:])]
    parts = parts_of(refs, config.evaluate.batch)
    written: list[str] = []
    with read_centres(corpus, parts, config.train.patch_px, threads_for(config.train.workers), pinned=False) as coming:
        for batch, _ in coming:
            answers = network.answers(batch.high, batch.low).float().cpu().numpy()
            for view, answer in zip(batch.high.numpy(), answers, strict=True):
                file = f"{PREFIX}{entries[len(written)]['file']}"
                tiles = [_enlarged(view), *(_heat(answer[number]) for number in range(1, len(CLASSES)))]
                write_atomic(folder / file, png(side_by_side(tiles, titles, TILE_PX)))
                written.append(file)
    return written


def _heat(probability: np.ndarray) -> np.ndarray:
    """float (P, P) in [0, 1] -> uint8 RGB (TILE_PX, TILE_PX, 3); where it is no number, black."""
    shown = HEAT(np.nan_to_num(probability), bytes=True)[..., :3].copy()
    shown[np.isnan(probability)] = 0
    return _enlarged(shown)


def _enlarged(image: np.ndarray) -> np.ndarray:
    way = cv2.INTER_AREA if len(image) > TILE_PX else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (TILE_PX, TILE_PX), interpolation=way)
