"""Pictures of the worst slides of a split, one each: annotation | the last step's classes | what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mlseg_core.files import write_atomic
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation.drawn import png
from mlseg_dist.evaluation.overview import OverviewMap
from mlseg_dist.evaluation.pictures import side_by_side
from mlseg_dist.evaluation.plan import Subject
from mlseg_dist.evaluation.results import Result
from mlseg_dist.report.overlay import COLOURS, overlay
from shards.reader import open_slide

MOST = 6
"""Slides of a split that are shown."""
TILE_PX = 324
_RIGHT, _PALE = 0.25, 0.7


def draw_worst(
    subject: Subject, results: Sequence[Result], slides: Mapping[str, Mapping[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """Write folder/worst-SPLIT-NN.png; returns what each shows. slides: as in evaluation.json.

    Names of files hold no name of a slide.
    """
    step = subject.own_steps[-1].name
    of_slide = {one.slug: one for one in results if one.one.step_name == step and not one.not_scored}
    described: list[dict[str, Any]] = []
    for split in subject.config.evaluate.splits:
        scored = [
            (slides[slug]["figures"][step]["miou"], slug)
            for slug, one in of_slide.items()
            if one.one.scored.split == split and slides[slug]["figures"].get(step, {}).get("miou") is not None
        ]
        for number, (score, slug) in enumerate(sorted(scored)[:MOST]):
            file = f"worst-{split}-{number:02d}.png"
            write_atomic(folder / file, _picture(subject, of_slide[slug]))
            facts = {"file": file, "kind": "worst", "split": split, "step": step, "key": None, "slide": slug}
            described.append({**facts, "class": None, "good": False, "iou": score})
    return described


def _picture(subject: Subject, result: Result) -> bytes:
    """PNG. Raises UserError when the slide cannot be opened."""
    with open_slide(result.one.scored.slide, subject.corpus.views["high_mpp"]) as reader:
        thumbnail = reader.thumbnail(TILE_PX)
    height, width = thumbnail.shape[:2]
    found = result.overview()
    truth, predicted = (
        cv2.resize(one, (width, height), interpolation=cv2.INTER_NEAREST) for one in (found.truth, found.predicted)
    )
    tiles = [
        _outlined(thumbnail, truth),
        overlay(thumbnail, predicted),
        _wrong(thumbnail, OverviewMap(truth, predicted)),
    ]
    titles = ["annotation", f"{result.one.step_name} answers", "what is wrong: as answered, missed is black"]
    return png(side_by_side(tiles, titles, TILE_PX))


def _outlined(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The classes' outlines over the tissue."""
    out = image.copy()
    for number in range(len(CLASSES)):
        outlines, _ = cv2.findContours((truth == number).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, outlines, -1, COLOURS[number].tolist(), 1)
    return out


def _wrong(image: np.ndarray, found: OverviewMap) -> np.ndarray:
    """Wrong cells in the colour of what was answered, black where that is background; right ones are faint."""
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    known = (found.truth != IGNORED) & (found.predicted != IGNORED)
    wrong = known & (found.truth != found.predicted)
    white = np.where(known, _RIGHT, _PALE)[..., None]
    out = (1 - white) * grey + white * 255
    out[wrong] = np.where(found.predicted[wrong, None] == 0, 0, COLOURS[found.predicted[wrong]])
    return out.round().astype(np.uint8)
