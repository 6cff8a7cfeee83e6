"""A campaign's run folder for the report, without networks: evaluation.json comes from counts of made-up answers.

Steps get better at tumour and stroma, worse at bad regions; H&E, Motic and DS7 come in no train slide.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlseg_core.config import validate
from mlseg_core.files import write_atomic, write_json
from mlseg_dist.config import LearningConfig
from mlseg_dist.evaluation import summary
from mlseg_dist.evaluation.slide_counts import SlideCounts
from mlseg_dist.report.sources import read_sources
from shards.manifest import Manifest
from tests.mlseg_dist.evaluation.made_counts import FINE, GRID, answers, counted, made_corpus, made_teachers
from tests.mlseg_dist.tiny_run import metric_lines, plain_config

PATIENTS = {"val": 4, "test": 6, "dev-unseen": 6}
STEPS = ("base", "master-1", "master-2")
SKILL = {"background": 1.4, "stroma": 1.4, "tumour": 1.0, "dcis": 0.6, "fold": 2.2, "blur": 1.6}
BETTER, WORSE = 0.7, -0.9
"""What a step adds to the skill for tissue, and for bad regions."""
CELLS = 500


@dataclass(frozen=True)
class Reported:
    """A run folder and its config."""

    path: Path
    config: LearningConfig

    @property
    def evaluate(self) -> Path:
        return self.path / "phases" / "09-evaluate"

    @property
    def page(self) -> str:
        return (self.path / "report" / "index.html").read_text(encoding="utf-8")

    def sources(self):
        return read_sources(self.config, self.path)


def made_run(folder: Path, evaluation: dict[str, Any] | None = None, is_bare: bool = False, **changes: Any) -> Reported:
    """RUN with an evaluation (default: `evaluation_of`), pictures, curves, a label round, styles. changes: top-level config.

    is_bare: without what is drawn, which takes longest.
    """
    config = config_of(**changes)
    run = Reported(folder / "run", config)
    for number, step in enumerate(config.steps):
        phase = run.path / "phases" / f"{2 + number:02d}-{step.name}"
        write_json(phase / "teacher.json", {"weights": "teacher.pt", "sha256": f"{number:064d}"})
        if not is_bare:
            write_atomic(phase / "metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in metric_lines()))
    found = evaluation_of(config) if evaluation is None else evaluation
    found = without_drawings(found) if is_bare else found
    if not found["pictures"]:
        found = {**found, "pictures": draw_pictures(run.evaluate / "pictures", found)}
    write_json(run.evaluate / "evaluation.json", found)
    if not is_bare:
        write_rounds(run.path / "data")
        write_styles(run.path / "data")
    return run


def without_drawings(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Without the parts that are drawn as curves: a page of them is written in a moment."""
    return {**evaluation, "curves": {}, "calibration": {}}


def config_of(steps: Sequence[str] = STEPS, **changes: Any) -> LearningConfig:
    raw = plain_config()
    base, master = raw["steps"]
    raw["steps"] = [{**(base if name == "base" else master), "name": name} for name in steps]
    raw["training_classes"] = dict(zip(FINE, (0, 0, 1, 2, 2, 2, 255), strict=True))
    return validate({**raw, **changes}, LearningConfig, "test")


def evaluation_of(
    config: LearningConfig,
    patients: Mapping[str, int] = PATIENTS,
    slides_each: int = 2,
    skill: Mapping[str, float] = SKILL,
    better: float = BETTER,
    worse: float = WORSE,
) -> dict[str, Any]:
    """evaluation.json of all steps of the config."""
    steps = tuple(step.name for step in config.steps)
    return json.loads(_evaluation(steps, tuple(patients.items()), slides_each, tuple(skill.items()), better, worse))


@cache
def _evaluation(
    steps: tuple[str, ...], patients: tuple, slides_each: int, skill: tuple, better: float, worse: float
) -> str:
    config, corpus = config_of(steps), made_corpus(dict(patients), slides_each)
    found = summary.build(
        corpus=corpus,
        corpus_sha256="c" * 64,
        config=config,
        slides=summary.slide_facts(corpus, config.evaluate.splits),
        counts=_counts(corpus, config, steps, dict(skill), better, worse),
        not_scored=[],
        teachers=made_teachers(steps),
        grid=GRID,
    )
    return json.dumps(found)


def with_control(order: Sequence[str], **changes: Any) -> tuple[LearningConfig, dict[str, Any]]:
    """A config with a control, and its evaluation. order: steps to evaluate, each better than the one before."""
    raw = config_of().model_dump(mode="json")
    raw["train"]["epoch_draws"] = 64
    config = validate({**raw, "controls": ["human-only"], **changes}, LearningConfig, "test")
    corpus = made_corpus(PATIENTS)
    found = summary.build(
        corpus=corpus,
        corpus_sha256="c" * 64,
        config=config,
        slides=summary.slide_facts(corpus, config.evaluate.splits),
        counts=_counts(corpus, config, order, SKILL, BETTER, WORSE),
        not_scored=[],
        teachers=made_teachers(order),
        grid=GRID,
    )
    return config, json.loads(json.dumps(found))


def _counts(
    corpus: Manifest,
    config: LearningConfig,
    steps: Sequence[str],
    skill: Mapping[str, float],
    better: float,
    worse: float,
) -> dict[tuple[str, str], SlideCounts]:
    class_of = np.array([config.training_classes[name] for name in corpus.classes])
    found = {}
    for slide in corpus.slides:
        if slide.split == "train":
            continue
        random = np.random.default_rng([1, *slide.slug.encode()])
        ease = random.normal(0, 0.4)
        fine = random.choice(len(FINE), CELLS, p=(0.22, 0.25, 0.2, 0.15, 0.09, 0.06, 0.03))
        for number, step in enumerate(steps):
            change = [(worse if name in ("fold", "blur") else better) * number for name in FINE]
            able = np.array([skill.get(name, 1.0) for name in FINE]) + change + ease
            random = np.random.default_rng([2, number, *slide.slug.encode()])
            shown = answers(random, class_of[fine], 0.0)
            logits = np.log(shown)
            known = class_of[fine] < 3
            logits[np.flatnonzero(known), class_of[fine][known]] += able[fine][known]
            powers = np.exp(logits)
            found[slide.slug, step] = counted(fine, powers / powers.sum(axis=1, keepdims=True), class_of)
    return found


def draw_pictures(folder: Path, evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Two examples and one worst slide a split, small noise; the entries of evaluation.json."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for split in evaluation["splits"]:
        slugs = [slug for slug, facts in evaluation["slides"].items() if facts["split"] == split]
        for number, kind in enumerate(("example", "example", "worst")):
            file = f"{kind}-{split}-{number:02d}.png"
            noise = np.random.default_rng(number).integers(0, 255, (24, 72, 3), np.uint8)
            Image.fromarray(noise).save(folder / file)
            entries.append(
                {
                    "file": file,
                    "split": split,
                    "key": f"{slugs[number % len(slugs)]}+y1+x1",
                    "slide": slugs[number % len(slugs)],
                    "class": "tumour",
                    "good": number == 0,
                    "iou": 0.5,
                    "kind": kind,
                    "step": evaluation["steps"][-1],
                }
            )
    return entries


def write_rounds(data: Path) -> None:
    counts = {"background": 700, "tumour": 200, "others": 50, "rejected": 50}
    groups = {"by_stain": {"ER": counts}, "by_slide": {"train-p00-0": counts}}
    accepted = {name: count for name, count in counts.items() if name != "rejected"}
    right = {"background": 0.991, "tumour": 0.912, "others": None}
    expected = {"precision": {"high": right, "low": right}, "recall": {"high": right, "low": right}}
    facts = {"accepted": accepted, "rejected": 50, "drawn": {}, "expected": expected, **groups}
    write_json(data / "labels-1" / "manifest.json", {"facts": facts})


def write_styles(data: Path) -> None:
    """Facts of two pairs, one of which kept too little, and a sheet of the other."""
    ssim = {"A -> <B>": {"mean": 0.987, "least": 0.911}, "<B> -> A": {"mean": 0.412, "least": 0.105}}
    write_json(data / "styled" / "manifest.json", {"facts": {"ssim": ssim, "left_out": ["<B> -> A"]}})
    records = {
        "A--B": {"source": "A", "target": "<B>", "steps": 20000},
        "B--A": {"source": "<B>", "target": "A", "steps": 20000},
    }
    write_json(data / "generators" / "generators.json", {"pairs": records})
    (data / "generators" / "A--B").mkdir()
    Image.new("RGB", (8, 8)).save(data / "generators" / "A--B" / "sheet.jpg")
