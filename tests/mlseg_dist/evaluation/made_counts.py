"""Counts of slides that no network has seen: cells with known probabilities, counted by the definitions, one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlseg_core.config import validate
from mlseg_dist.config import IGNORED, LearningConfig
from mlseg_dist.evaluation import summary
from mlseg_dist.evaluation.slide_counts import BINS, ODDS, ODDS_LIMIT, ODDS_STEP, SlideCounts
from shards.manifest import Manifest
from tests.mlseg_dist.tiny_run import plain_config

FINE = ("background", "stroma", "tumour", "dcis", "fold", "blur", "unknown")
STAINS = (("ER", "Philips", "DS1"), ("PR", "Philips", "DS1"), ("H&E", "Motic", "DS7"))
STEPS = ("base", "master-1")
GRID = {"cell_um": 2.0, "view_px": 192, "overlap": 0.25, "forwards_per_area": 1.78}


def counted(fine: np.ndarray, probabilities: np.ndarray, class_of: np.ndarray, unanswered: int = 0) -> SlideCounts:
    """fine: (N,) class numbers; probabilities: (N, 3). Ignored classes are left out, as whoever counts slides must."""
    counts = SlideCounts(unanswered=unanswered)
    truth = class_of[fine]
    known = truth != IGNORED
    fine, truth, probabilities = fine[known], truth[known], probabilities[known]
    strongest = probabilities.argmax(axis=1)
    bins = np.clip(np.floor(probabilities * (BINS - 1)).astype(int), 0, BINS - 1)
    np.add.at(counts.answers, (fine, strongest, bins[np.arange(len(fine)), strongest]), 1)
    for number in range(3):
        np.add.at(counts.scores, (truth, number, bins[:, number]), 1)
    odds = np.log(probabilities[:, 1:] / probabilities[:, :1])
    place = np.clip(np.round((odds + ODDS_LIMIT) / ODDS_STEP).astype(int), 0, ODDS - 1)
    np.add.at(counts.log_odds, (truth, place[:, 0], place[:, 1]), 1)
    for number in range(3):
        border = int((truth == number).sum()) // 10
        counts.surface[number] = border, border // 2, border + 3, border // 3
    return counts


def answers(random: np.random.Generator, truth: np.ndarray, skill: float, classes: int = 3) -> np.ndarray:
    """Probabilities (N, 3) of a network that is right the more often the higher its skill."""
    logits = 1.5 * random.standard_normal((len(truth), classes))
    hold = truth < classes
    logits[np.flatnonzero(hold), truth[hold]] += skill
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def made_config(**changes: Any) -> LearningConfig:
    """Two steps, and FINE as classes; `unknown` is ignored, `dcis`, `fold` and `blur` are others."""
    classes = dict(zip(FINE, (0, 0, 1, 2, 2, 2, IGNORED), strict=True))
    raw = {**plain_config(), "training_classes": classes, **changes}
    return validate(raw, LearningConfig, "test")


def made_corpus(patients: Mapping[str, int], slides_each: int = 2) -> Manifest:
    """patients: split -> how many. Stains, scanners and sources go round; H&E (and what comes with it) is in no train slide."""
    slides = []
    for split, count in {"train": 2, **patients}.items():
        for patient in range(count):
            for number in range(slides_each):
                stain, scanner, source = STAINS[(patient + number) % (2 if split == "train" else 3)]
                name = f"{split}-p{patient:02d}-{number}"
                slides.append(
                    {
                        "slug": name,
                        "slide": f"{name}.svs",
                        "patient": f"{split}-p{patient:02d}",
                        "stain": stain,
                        "scanner": scanner,
                        "source": source,
                        "split": split,
                    }
                )
    shard = {
        "name": "a.tar",
        "bytes": 1,
        "sha256": "0",
        "index_sha256": "0",
        "samples": 1,
        "slide": "x",
        "split": "train",
    }
    return Manifest.model_validate(
        {
            "kind": "corpus",
            "fingerprint": "0",
            "members": ("json",),
            "classes": FINE,
            "views": {"high_mpp": 2.0, "low_mpp": 8.0},
            "shards": ({**shard, "pixels": {"stroma": 900, "tumour": 100, "unknown": 5000}},),
            "slides": tuple(slides),
            "totals": {},
        }
    )


def made_counts(
    corpus: Manifest, config: LearningConfig, steps: Sequence[str] = STEPS, cells: int = 400, seed: int = 0
) -> dict[tuple[str, str], SlideCounts]:
    """Counts of all evaluated slides; later steps are better, patients and slides differ."""
    class_of = np.array([config.training_classes[name] for name in corpus.classes])
    found = {}
    for slide in corpus.slides:
        if slide.split not in config.evaluate.splits:
            continue
        random = np.random.default_rng([seed, *slide.slug.encode()])
        fine = random.choice(len(FINE), cells, p=(0.25, 0.25, 0.2, 0.15, 0.06, 0.04, 0.05))
        ease = random.normal(0, 0.5)
        for number, step in enumerate(steps):
            shown = answers(random, class_of[fine], 1.0 + 0.8 * number + ease)
            found[slide.slug, step] = counted(fine, shown, class_of, unanswered=int(random.integers(3)))
    return found


def made_teachers(steps: Sequence[str] = STEPS, source: str = "validation") -> dict[str, dict[str, Any]]:
    point = {"threshold": 0.4, "temperature": 1.3 if source == "validation" else None, "source": source}
    return {step: {"sha256": f"{number:064d}", **point} for number, step in enumerate(steps)}


def made_evaluation(
    patients: Mapping[str, int] = {"val": 3, "test": 6, "dev-unseen": 6},
    steps: Sequence[str] = STEPS,
    **changes: Any,
) -> dict[str, Any]:
    """evaluation.json of a made-up campaign. changes: other arguments of summary.build."""
    corpus, config = made_corpus(patients), made_config()
    given = {
        "corpus": corpus,
        "corpus_sha256": "c" * 64,
        "config": config,
        "slides": summary.slide_facts(corpus, config.evaluate.splits),
        "counts": made_counts(corpus, config, steps),
        "not_scored": [],
        "teachers": made_teachers(steps),
        "grid": GRID,
    }
    return summary.build(**{**given, **changes})
