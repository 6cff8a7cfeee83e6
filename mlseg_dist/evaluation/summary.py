"""Counts of all slides in; the content of evaluation.json out (version 2; docs/evaluation.md says what each figure is)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mlseg_dist.config import CLASSES, FACTORS, IGNORED, LearningConfig
from mlseg_dist.evaluation import VERSION
from mlseg_dist.evaluation.cohort import Counts, Facts
from mlseg_dist.evaluation.differences import Against, against_another, between_steps, by_domain, ladder
from mlseg_dist.evaluation.domains import confounded, domain_slides
from mlseg_dist.evaluation.figures import constant, plain
from mlseg_dist.evaluation.step_summary import PARTS, StepSummary, summarise_step
from shards.manifest import Manifest

UNIT = "annotated pixel, once"


def majority_class(manifest: Manifest, training_classes: Mapping[str, int]) -> int:
    """The training class with most labelled pixels in the train split."""
    pixels = np.zeros(len(CLASSES), np.int64)
    for shard in manifest.of_splits("train"):
        for fine, count in shard.pixels.items():
            if training_classes[fine] != IGNORED:
                pixels[training_classes[fine]] += count
    return int(pixels.argmax())


def slide_facts(manifest: Manifest, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Slug -> who the slide is, and which of its stain, source and scanner the train split never saw."""
    seen = {kind: {getattr(s, kind) for s in manifest.slides if s.split == "train"} for kind in FACTORS}
    return {
        slide.slug: {
            **{name: getattr(slide, name) for name in ("slide", "patient", "split", *FACTORS)},
            "unseen": [kind for kind in FACTORS if getattr(slide, kind) not in seen[kind]],
        }
        for slide in manifest.slides
        if slide.split in splits
    }


def build(
    *,
    corpus: Manifest,
    corpus_sha256: str,
    config: LearningConfig,
    slides: Facts,
    counts: Counts,
    not_scored: Sequence[Mapping[str, Any]],
    teachers: Mapping[str, Mapping[str, Any]],
    grid: Mapping[str, Any],
    against: Against | None = None,
    majority: int | None = None,
) -> dict[str, Any]:
    """evaluation.json without its pictures. The same bytes whatever the order of slides and counts.

    corpus_sha256: of the corpus' manifest. slides: slide_facts of the evaluated splits. counts: (slug, step) -> SlideCounts; a
    mapping that reads them when asked will do: each is asked for once, those of val twice. not_scored: rows of slide, split, step
    and why. teachers: step -> sha256, threshold, temperature, source. majority: class number, where the corpus lists no shards.
    """
    splits = [split for split in config.evaluate.splits if any(fact["split"] == split for fact in slides.values())]
    steps = campaign_order(config, teachers)
    controls = controls_of(config, steps)
    own = [step for step in steps if step not in controls] or steps
    class_of = np.array([config.training_classes[name] for name in corpus.classes])
    common = (slides, splits, corpus.classes, class_of, config.seed)
    made = {step: summarise_step(step, teachers[step], counts, *common) for step in steps}
    rows = {slug: _slide(slug, slides[slug], made) for slug in sorted(slides)}
    majority = majority_class(corpus, config.training_classes) if majority is None else majority
    scored = [slug for slug in domain_slides(slides, splits) if any(rows[slug]["pixels"].values())]
    pairs = [*ladder(own), *((control, step) for control, step in controls.items() if step in made)]
    return {
        "version": VERSION,
        "classes": list(CLASSES),
        "corpus_sha256": corpus_sha256,
        "unit": UNIT,
        "grid": dict(grid),
        "teachers": {step: dict(teachers[step]) for step in steps},
        "steps": own,
        "controls": controls,
        "majority": CLASSES[majority],
        "boundary_um": config.evaluate.boundary_um,
        "splits": {split: _split(split, rows, majority) for split in splits},
        **{
            part: {split: {step: made[step].parts[part][split] for step in steps} for split in splits} for part in PARTS
        },
        "slides": rows,
        "patients": {split: _patients(split, made) for split in splits},
        "domains": {step: made[step].domains for step in steps},
        "domain_differences": _by_domain(own, made, slides, splits, config.seed),
        "confounded": confounded(slides, scored),
        "differences": {split: between_steps(split, pairs, made, slides, config.seed) for split in splits},
        "against": None if against is None else against_another(against, made, slides, splits, class_of, config.seed),
        "cross_fit": {step: made[step].cross_fit for step in steps if made[step].cross_fit is not None},
        "not_scored": sorted((dict(row) for row in not_scored), key=_place_of(steps)),
        "pictures": [],
    }


def campaign_order(config: LearningConfig, steps: Iterable[str]) -> list[str]:
    """The given steps as the campaign trains them; networks that are none of its steps come last, by name."""
    order = [step.name for step in config.steps]
    return sorted(steps, key=lambda step: (order.index(step) if step in order else len(order), step))


def controls_of(config: LearningConfig, steps: Iterable[str]) -> dict[str, str]:
    """Each of the given steps that belongs to a control -> the campaign's own step that it is compared with."""
    known = {step.name: step for step in config.steps}
    return {name: known[name].seed_name for name in steps if name in known and known[name].control}


def _place_of(steps: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[str, int, str]]:
    return lambda row: (row["slide"], steps.index(row["step"]) if row["step"] in steps else -1, str(row["why"]))


def _by_domain(
    steps: Sequence[str], made: Mapping[str, StepSummary], slides: Facts, splits: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """The last step minus the first, for each stain, scanner and source; None for a single step."""
    if len(steps) < 2:
        return None
    first, last = (
        {slug: matrix for of in made[step].confusions.values() for slug, matrix in of.items()}
        for step in (steps[0], steps[-1])
    )
    return {
        "from": steps[0],
        "to": steps[-1],
        "rows": by_domain(first, last, slides, domain_slides(slides, splits), seed),
    }


def _slide(slug: str, fact: Mapping[str, Any], made: Mapping[str, StepSummary]) -> dict[str, Any]:
    """A slide's facts and figures. pixels: those of the step that answered most of them."""
    figures = {step: one.slides[slug] for step, one in made.items() if slug in one.slides}
    pixels = max(
        ([sum(row) for row in own["confusion"]] for own in figures.values()), key=sum, default=[0] * len(CLASSES)
    )
    return {
        **fact,
        "pixels": dict(zip(CLASSES, pixels, strict=True)),
        "unanswered": {step: one.unanswered[slug] for step, one in made.items() if slug in one.unanswered},
        "figures": figures,
    }


def _split(split: str, rows: Mapping[str, Mapping[str, Any]], majority: int) -> dict[str, Any]:
    """How much there is in a split, and the figures of always answering the train split's majority class."""
    scored = [row for row in rows.values() if row["split"] == split and any(row["pixels"].values())]
    pixels = {name: sum(row["pixels"][name] for row in scored) for name in CLASSES}
    total = sum(pixels.values())
    unseen = {factor: sorted({row[factor] for row in scored if factor in row["unseen"]}) for factor in FACTORS}
    return {
        "slides": len(scored),
        "patients": len({row["patient"] for row in scored}),
        "pixels": pixels,
        "prevalence": {name: count / total if total else None for name, count in pixels.items()},
        "majority": plain(constant(np.array(list(pixels.values()), np.int64), majority)),
        "unseen": {factor: values for factor, values in unseen.items() if values},
    }


def _patients(split: str, made: Mapping[str, StepSummary]) -> dict[str, dict[str, Any]]:
    """Patient -> the slides that any step scored, and figures of each step."""
    found: dict[str, dict[str, Any]] = {}
    for step, one in made.items():
        for patient, row in one.patients[split].items():
            kept = found.setdefault(patient, {"slides": [], "figures": {}})
            kept["slides"] = sorted({*kept["slides"], *row["slides"]})
            kept["figures"][step] = row["figures"]
    return dict(sorted(found.items()))
