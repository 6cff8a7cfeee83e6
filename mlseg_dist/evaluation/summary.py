"""Tallies in; the content of evaluation.json out: figures per step and split, groups, baseline, gain, curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlseg_core.randomness import generator
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation import counts
from mlseg_dist.evaluation.scoring import Tally
from shards.manifest import Manifest

GROUPS = ("stain", "source", "scanner")
BAD_REGIONS = ("fold", "bubble", "blur", "artefact")
"""Fine classes that spoil tissue; the network should call them `others` (SPEC §6)."""
HELD_OUT = ("test", "dev-unseen", "final-unseen")


def majority_class(manifest: Manifest, training_classes: dict[str, int]) -> int:
    """The training class with most labelled pixels in the train split."""
    pixels = np.zeros(len(CLASSES), np.int64)
    for shard in manifest.of_splits("train"):
        for fine, count in shard.pixels.items():
            if training_classes[fine] != IGNORED:
                pixels[training_classes[fine]] += count
    return int(pixels.argmax())


def slide_facts(manifest: Manifest, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Slug -> who the slide is, and which of its stain, source and scanner the train split never saw."""
    seen = {kind: {getattr(s, kind) for s in manifest.slides if s.split == "train"} for kind in GROUPS}
    return {
        slide.slug: {
            **{name: getattr(slide, name) for name in ("slide", "patient", "split", *GROUPS)},
            "unseen": [kind for kind in GROUPS if getattr(slide, kind) not in seen[kind]],
        }
        for slide in manifest.slides
        if slide.split in splits
    }


def step_summary(name: str, tallies: dict[str, Tally], manifest: Manifest, facts: dict[str, dict]) -> dict[str, Any]:
    """All figures of one step. tallies: split -> counts."""
    return {
        "step": name,
        "splits": {split: _split_summary(tally, manifest) for split, tally in tallies.items()},
        "groups": {kind: _groups(kind, tallies, facts) for kind in GROUPS},
    }


def _split_summary(tally: Tally, manifest: Manifest) -> dict[str, Any]:
    fine = {
        name: dict(zip(CLASSES, tally.fine[number].tolist(), strict=True))
        for number, name in enumerate(manifest.classes)
        if tally.fine[number].any()
    }
    return {
        "pooled": counts.figures(tally.pooled),
        "per_slide": counts.per_slide_figures(np.stack(list(tally.slides.values()))),
        "slides": {slug: matrix.tolist() for slug, matrix in sorted(tally.slides.items())},
        "fine": fine,
        "bad_regions": _bad_regions(fine),
        "histograms": dict(zip(CLASSES, tally.scores.tolist(), strict=True)),
    }


def _bad_regions(fine: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Recall of spoiled tissue: the part of its pixels that was called `others`."""
    found = {name: fine[name] for name in BAD_REGIONS if name in fine}
    parts = {name: [row["others"], sum(row.values())] for name, row in found.items()}
    total = [sum(part[i] for part in parts.values()) for i in (0, 1)]
    each = {name: {"recall": hit / pixels, "pixels": pixels} for name, (hit, pixels) in parts.items()}
    return {"recall": total[0] / total[1] if total[1] else None, "pixels": total[1], "each": each}


def _groups(kind: str, tallies: dict[str, Tally], facts: dict[str, dict]) -> list[dict[str, Any]]:
    """Pooled figures per stain, source or scanner over the held-out splits (over val where there is none of them)."""
    splits = [split for split in tallies if split in HELD_OUT] or list(tallies)
    matrices: dict[str, list[np.ndarray]] = {}
    unseen = set()
    for split in splits:
        for slug, matrix in tallies[split].slides.items():
            value = facts[slug][kind]
            matrices.setdefault(value, []).append(matrix)
            if kind in facts[slug]["unseen"]:
                unseen.add(value)
    return [
        {"value": value, "unseen": value in unseen, "slides": len(parts), **counts.figures(np.sum(parts, axis=0))}
        for value, parts in sorted(matrices.items(), key=lambda item: (item[0] in unseen, item[0]))
    ]


def split_facts(tally: Tally, answer: int) -> dict[str, Any]:
    """How much there is in a split, and the figures of always answering the train split's majority class."""
    pixels = tally.pooled.sum(axis=1)
    return {
        "pairs": len(tally.pairs),
        "slides": len(tally.slides),
        "pixels": dict(zip(CLASSES, pixels.tolist(), strict=True)),
        "majority": counts.figures(counts.constant(pixels, answer)),
    }


def gain(base: Tally, last: Tally, seed: int, split: str) -> dict[str, Any]:
    """Last step minus base, with a paired interval over slides."""
    slugs = sorted(base.slides)
    matrices = [np.stack([tally.slides[slug] for slug in slugs]) for tally in (base, last)]
    return counts.bootstrap_gain(matrices[0], matrices[1], generator(seed, "bootstrap", split))


def split_curves(tally: Tally) -> dict[str, Any]:
    """Class -> its curves against the rest."""
    return {name: counts.curves(tally.scores[number]) for number, name in enumerate(CLASSES)}
