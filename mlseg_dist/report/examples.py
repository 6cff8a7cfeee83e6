"""Sections with patches and curves of training: examples by lot, losses and figures while training."""

from typing import Any

from mlseg_core.html import Html, Section, details, grid, heading, legend
from mlseg_dist.report import figures
from mlseg_dist.report.elements import drawing, made
from mlseg_dist.report.figure_ids import figure_id, target
from mlseg_dist.report.look import CLASS_COLOURS
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import SPLIT_NAMES, share

SHOWN_EXAMPLES = 4
"""Pictures a split that are seen at once; the others lie behind a fold."""
CURVES = (
    ("Mean IoU", "miou", True),
    ("Categorical accuracy", "accuracy", True),
    ("Weighted cross entropy", "wce", False),
    ("Weighted Dice loss", "wdl", False),
)


def training(sources: Sources) -> Section | None:
    if not any(sources.curves.values()):
        return None
    drawn = [
        drawing(
            figures.training_curve(title, key, sources.curves, is_share), f"{title} while training", id=figure_id(key)
        )
        for title, key, is_share in CURVES
    ]
    lead = (
        "Each step has a band of equal width, whatever its length. Validation losses are unweighted, training losses "
        "carry the step's class weights and augmentation, so the two lines need not meet."
    )
    return Section("Training", lead, [grid(drawn)])


def examples(sources: Sources, pictures: Pictures) -> Section | None:
    """Patches with truth and predictions of the first and the last step."""
    entries = [one for one in sources.block("pictures") or [] if one.get("kind", "example") == "example"]
    parts = [legend({**CLASS_COLOURS, "paled: not annotated, ignored": ""})]
    for split in sources.splits:
        of_split = [one for one in entries if one["split"] == split]
        drawn = [_example(sources, pictures, place, one) for place, one in enumerate(of_split)]
        shown = [one for one in drawn if one is not None]
        if shown:
            parts += [heading(SPLIT_NAMES[split]), *shown[:SHOWN_EXAMPLES]]
        if shown[SHOWN_EXAMPLES:]:
            parts.append(details(f"{len(shown) - SHOWN_EXAMPLES} more", *shown[SHOWN_EXAMPLES:]))
    if len(parts) == 1:
        return None
    lead = (
        "Drawn by lot for each class in turn: one from the third of its patches that the last step does best, one from "
        "the third that it does worst. The rectangle on the low view is the field of the high view."
    )
    return Section("Examples", lead, parts)


def heat_maps(sources: Sources, pictures: Pictures) -> Section | None:
    """Probabilities of the last step on some of the examples; None for runs that were evaluated by an earlier version."""
    parts: list[Html] = []
    for split in sources.splits:
        entries = [one for one in sources.block("pictures") or [] if one.get("kind", "example") == "example"]
        drawn = [
            _heat_map(sources, pictures, place, one)
            for place, one in enumerate(one for one in entries if one["split"] == split)
        ]
        shown = [one for one in drawn if one is not None]
        if shown:
            parts += [heading(SPLIT_NAMES[split]), grid(shown, "two")]
    if not parts:
        return None
    lead = f"How sure {sources.steps[-1]} is of tumour and of others, on the first examples of each split; red is confident."
    return Section("Heat maps", lead, [target("heat-maps"), *parts])


def _heat_map(sources: Sources, pictures: Pictures, place: int, entry: dict[str, Any]) -> Html | None:
    path = sources.evaluation_folder / "pictures" / f"heat-{entry['file']}"
    facts = sources.block("slides", entry["slide"])
    who = [sources.shown_slide(entry["slide"]), *(str(facts.get(name, "")) for name in ("stain", "scanner", "source"))]
    said = f"High view, probability of tumour and of others on {sources.shown_key(entry['key'])}"
    shown = pictures.show(path, f"heat-{entry['split']}-{place:02d}", said)
    return None if shown is None else made.pictured("worst", shown, " · ".join(who))


def _example(sources: Sources, pictures: Pictures, place: int, entry: dict[str, Any]) -> Html | None:
    path = sources.evaluation_folder / "pictures" / entry["file"]
    facts = sources.block("slides", entry["slide"])
    which = "among the best" if entry["good"] else "among the worst"
    who = [sources.shown_slide(entry["slide"]), *(str(facts.get(name, "")) for name in ("stain", "scanner", "source"))]
    said = " · ".join([*who, f"{entry['class']}, IoU {share(entry.get('iou'), 2)} here, {which}"])
    shown = pictures.show(
        path,
        f"example-{entry['split']}-{place:02d}",
        f"Views, truth and predictions of {sources.shown_key(entry['key'])}",
    )
    return None if shown is None else made.pictured("example", shown, said)
