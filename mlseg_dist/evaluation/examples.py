"""Example pictures: stored pairs of a split, well and badly answered, as the first and the last evaluated step answer them.

They are chosen by the small pictures of the slides' maps, so that only the pairs that are shown are predicted again.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.files import write_atomic
from mlseg_core.randomness import generator
from mlseg_dist.config import CLASSES
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.data.views import Centres, parts_of, read_centres
from mlseg_dist.evaluation import pictures
from mlseg_dist.evaluation.figures import iou
from mlseg_dist.evaluation.operating_point import of_teacher
from mlseg_dist.evaluation.overview import every_of
from mlseg_dist.evaluation.patches import confusions, decide
from mlseg_dist.evaluation.plan import Subject
from mlseg_dist.evaluation.results import Result
from mlseg_dist.run_folder import shards_folder
from mlseg_dist.whole_slide.network import slide_network

_CENTRE = re.compile(r"\+y(\d+)\+x(\d+)$")


def draw_examples(subject: Subject, results: Sequence[Result], folder: Path) -> list[dict[str, Any]]:
    """Write folder/SPLIT-NN.png; returns what each shows. results: of all evaluated slides and steps."""
    config, steps = subject.config, subject.own_steps
    corpus = Corpus(shards_folder(subject.run), dict(config.training_classes))
    last = [one for one in results if one.one.step_name == steps[-1].name and not one.not_scored]
    chosen = [choice for split in config.evaluate.splits for choice in _chosen(subject, corpus, last, split)]
    shown = steps[:1] if len(steps) == 1 else [steps[0], steps[-1]]
    parts = parts_of([choice.ref for choice in chosen], config.evaluate.batch)
    with read_centres(corpus, parts, config.train.patch_px, threads_for(config.train.workers), pinned=False) as coming:
        batches = [batch for batch, _ in coming]
    answers = [_answers(subject, step.name, batches) for step in shown]
    views_mpp = corpus.manifest.views
    fields = [f"{v}, {config.train.patch_px * views_mpp[f'{v}_mpp']:.0f} µm" for v in ("high", "low")]
    titles = [*fields, "truth", *(step.name for step in shown)]
    described: list[dict[str, Any]] = []
    numbers = dict.fromkeys(config.evaluate.splits, 0)
    views = (batch.views(position) for batch in batches for position in range(len(batch.refs)))
    for choice, seen, *maps in zip(chosen, views, *answers, strict=True):
        file = f"{choice.ref.split}-{numbers[choice.ref.split]:02d}.png"
        numbers[choice.ref.split] += 1
        write_atomic(folder / file, pictures.draw(seen, maps, titles, corpus.manifest.ratio))
        score = iou(confusions(seen.high_label[None], maps[-1][None])[0])[CLASSES.index(choice.shown)]
        described.append(
            {
                "file": file,
                "kind": "example",
                "split": choice.ref.split,
                "step": shown[-1].name,
                "key": choice.ref.key,
                "slide": choice.ref.slide,
                "class": choice.shown,
                "good": choice.good,
                "iou": None if np.isnan(score) else float(score),
            }
        )
    return described


def _chosen(subject: Subject, corpus: Corpus, last: Sequence[Result], split: str) -> list[pictures.Choice]:
    config = subject.config
    of_slide = {one.slug: one for one in last if one.one.scored.split == split}
    refs = [ref for ref in corpus.refs(split) if ref.slide in of_slide]
    high_mpp, px = corpus.manifest.views["high_mpp"], config.train.patch_px
    found: dict[str, np.ndarray] = {}
    for slug, result in of_slide.items():
        own = [ref for ref in refs if ref.slide == slug]
        found |= _confusions(result, own, high_mpp, px) if own else {}
    usable = [ref for ref in refs if ref.key in found]
    return pictures.choose(usable, found, config.evaluate.pictures, generator(config.seed, "pictures", split))


def _confusions(result: Result, refs: Sequence[PairRef], high_mpp: float, px: int) -> dict[str, np.ndarray]:
    """Key -> approximate confusion matrix of the last step on the pair's centre patch, (3, 3), from every k-th cell of it."""
    overview, place = result.overview(), result.place()
    every = every_of((place["rows"], place["columns"]))
    found = {}
    for ref in refs:
        match = _CENTRE.search(ref.key)
        assert match is not None
        parts = []
        for level0, mpp in zip(match.groups(), reversed(place["mpp"]), strict=True):
            first = int(level0) * mpp / high_mpp - px / 2 - every // 2
            parts.append(slice(max(0, -int(-first // every)), max(0, -int(-(first + px) // every))))
        part = overview.part(*parts)
        found[ref.key] = confusions(part.truth[None], part.predicted[None])[0]
    return found


def _answers(subject: Subject, step: str, batches: Sequence[Centres]) -> list[np.ndarray]:
    """What a step's teacher decides of every pair, uint8 (P, P), on the high grid."""
    config = subject.config
    index = next(i for i, one in enumerate(config.steps) if one.name == step)
    network = slide_network(subject.predictor(index), subject.corpus.ratio)
    threshold = of_teacher(subject.run, step, config).threshold
    return [one for batch in batches for one in decide(network.answers(batch.high, batch.low).cpu().numpy(), threshold)]
