"""Figures of every step's teacher on the held-out splits. In: the corpus and the teachers. Out: evaluation.json, pictures.

Only counts are kept, never scores: a billion pixels become a few kilobytes.
"""

from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file, write_atomic, write_json
from mlseg_core.progress import Progress
from mlseg_core.randomness import generator
from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.centres import parts_of, read_centres
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.device import settle_cpu
from mlseg_dist.evaluation import pictures, summary
from mlseg_dist.evaluation.counts import decide
from mlseg_dist.evaluation.scoring import Tally, Teacher, predict_centres, score
from mlseg_dist.inference import load_teacher
from mlseg_dist.run_folder import shards_folder

__all__ = ["evaluate"]


def evaluate(config: LearningConfig, run: Path, phase: Path) -> None:
    """Score every step's teacher on config.evaluate.splits; write phase/pictures/*.png, then phase/evaluation.json.

    Raises UserError when the corpus has no pair of any of those splits.
    """
    settings = config.evaluate
    corpus = Corpus(shards_folder(run), dict(config.training_classes))
    refs = {split: corpus.refs(split) for split in settings.splits}
    refs = {split: found for split, found in refs.items() if found}
    if not refs:
        raise UserError(f"no pair of {', '.join(settings.splits)}", corpus.folder, "Annotate slides of these splits.")
    settle_cpu(threads=0)
    teachers: list[Teacher] = [load_teacher(config, index, run) for index in range(len(config.steps))]
    total = sum(len(found) for found in refs.values())
    progress = Progress("evaluate", total, "pairs", phase / "progress" / "0.json")
    tallies: dict[str, list[Tally]] = {}
    for split, found in refs.items():
        progress.tally.note = split
        tallies[split] = score(
            teachers,
            corpus,
            found,
            patch_px=config.train.patch_px,
            batch=settings.batch,
            threshold=settings.threshold,
            threads=threads_for(config.train.workers),
            progress=progress,
        )
    progress.finish()
    shown = [
        picture
        for split, found in refs.items()
        for picture in _pictures(config, corpus, found, tallies[split][-1], teachers, phase / "pictures")
    ]
    write_json(phase / "evaluation.json", {**_summary(config, corpus, tallies), "pictures": shown})


def _summary(config: LearningConfig, corpus: Corpus, tallies: dict[str, list[Tally]]) -> dict[str, Any]:
    """tallies: split -> one tally a step."""
    manifest = corpus.manifest
    majority = summary.majority_class(manifest, dict(config.training_classes))
    facts = summary.slide_facts(manifest, list(tallies))
    return {
        "version": 1,
        "classes": list(CLASSES),
        "threshold": config.evaluate.threshold,
        "majority": CLASSES[majority],
        "corpus_sha256": sha256_file(corpus.folder / "manifest.json"),
        "slides": facts,
        "splits": {split: summary.split_facts(of_steps[-1], majority) for split, of_steps in tallies.items()},
        "steps": [
            summary.step_summary(step.name, {split: of[index] for split, of in tallies.items()}, manifest, facts)
            for index, step in enumerate(config.steps)
        ],
        "gain": {split: summary.gain(of[0], of[-1], config.seed, split) for split, of in tallies.items()},
        "curves": {split: summary.split_curves(of[-1]) for split, of in tallies.items()},
    }


def _pictures(
    config: LearningConfig, corpus: Corpus, refs: list[PairRef], last: Tally, teachers: list[Teacher], folder: Path
) -> list[dict[str, Any]]:
    """Draw the examples of one split; returns what each shows."""
    split = refs[0].split
    random = generator(config.seed, "pictures", split)
    chosen = pictures.choose(refs, last.pairs, config.evaluate.pictures, random)
    shown_steps = [0, len(teachers) - 1] if len(teachers) > 1 else [0]
    px, ratio, views_mpp = config.train.patch_px, corpus.manifest.ratio, corpus.manifest.views
    fields = [f"{view}, {px * views_mpp[f'{view}_mpp']:.0f} µm" for view in ("high", "low")]
    titles = [*fields, "truth", *(config.steps[index].name for index in shown_steps)]
    described: list[dict[str, Any]] = []
    parts = parts_of([choice.ref for choice in chosen], config.evaluate.batch)
    with read_centres(corpus, parts, px, threads_for(config.train.workers), pinned=False) as coming:
        for batch, _ in coming:
            predicted = [
                decide(predict_centres(teachers[index], batch, ratio), config.evaluate.threshold)
                for index in shown_steps
            ]
            for position, ref in enumerate(batch.refs):
                choice = chosen[len(described)]
                file = f"{split}-{len(described):02d}.png"
                maps = [of_step[position] for of_step in predicted]
                write_atomic(folder / file, pictures.draw(batch.views(position), maps, titles, ratio))
                described.append(
                    {
                        "file": file,
                        "split": split,
                        "key": ref.key,
                        "slide": ref.slide,
                        "class": choice.shown,
                        "good": choice.good,
                        "iou": choice.iou,
                    }
                )
    return described
