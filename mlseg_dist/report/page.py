"""index.html: one page that needs nothing but itself. In: sources, checks. Out: its text."""

import io
from typing import Any

from PIL import Image

from mlseg_dist.config import CLASSES
from mlseg_dist.report import figures, tables
from mlseg_dist.report.css import CSS
from mlseg_dist.report.headline import NAMES, headline
from mlseg_dist.report.html import Html, details, figure, grid, join, picture, section, text
from mlseg_dist.report.rounds import labels_accepted
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.styles import styled_views

SHOWN_EXAMPLES = 4
"""Pictures a split that are seen at once; the others lie behind a fold."""
JPEG_QUALITY = 88
CURVES = (
    ("Mean IoU", "miou", True),
    ("Categorical accuracy", "accuracy", True),
    ("Weighted cross entropy", "wce", False),
    ("Weighted Dice loss", "wdl", False),
)


def render(sources: Sources, checks: dict[str, Any]) -> str:
    """The whole page."""
    sections = [_results(sources, checks), _curves(sources), _confusions(sources), _examples(sources), _groups(sources)]
    sections += [_one_against_rest(sources), _bad_regions(sources), labels_accepted(sources)]
    sections += [styled_views(sources), _provenance(sources)]
    body = join([headline(sources, checks), *(part for part in sections if part is not None)])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(sources.config.name)} – mlseg report</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _results(sources: Sources, checks: dict[str, Any]) -> Html | None:
    if sources.evaluation is None:
        return None
    lead = (
        "Pixels of all slides pooled; only annotated pixels count. A pixel takes the strongest class at or above "
        f"{sources.evaluation['threshold']:g}, else background. Bold: the best step."
    )
    parts = [section("IoU per step and class", lead, tables.iou_table(sources))]
    if checks["checks"]:
        lead = "Margins of mean IoU that the config asks for."
        parts.append(section("Checks", lead, tables.checks_table(checks)))
    return join(parts)


def _curves(sources: Sources) -> Html | None:
    if not any(sources.curves.values()):
        return None
    drawn = [
        figure(figures.training_curve(title, key, sources.curves, share), f"{title} while training")
        for title, key, share in CURVES
    ]
    lead = (
        "Each step has a band of equal width, whatever its length. Validation losses are unweighted, training losses "
        "carry the step's class weights and augmentation, so the two lines need not meet."
    )
    return section("Training", lead, grid(drawn))


def _examples(sources: Sources) -> Html | None:
    if not sources.evaluation or not sources.evaluation["pictures"]:
        return None
    legend = " ".join(f'<span><i class="dot {name}"></i>{name}</span>' for name in CLASSES)
    legend = f'<p class="legend">{legend} <span><i class="dot ignored"></i>paled: not annotated, ignored</span></p>'
    parts = [Html(legend)]
    for split in sources.splits:
        shown = [_example(sources, entry) for entry in sources.evaluation["pictures"] if entry["split"] == split]
        if shown:
            parts.append(Html(f"<h3>{text(NAMES[split])}</h3>"))
            parts += shown[:SHOWN_EXAMPLES]
        if shown[SHOWN_EXAMPLES:]:
            parts.append(details(f"{len(shown) - SHOWN_EXAMPLES} more", join(shown[SHOWN_EXAMPLES:])))
    lead = (
        "Drawn by lot for each class in turn: one from the third of its patches that the last step does best, one from "
        "the third that it does worst. The rectangle on the low view is the field of the high view."
    )
    return section("Examples", lead, *parts)


def _example(sources: Sources, entry: dict[str, Any]) -> Html:
    assert sources.evaluation is not None
    path = sources.evaluation_folder / "pictures" / entry["file"]
    if not path.exists():
        return Html("")
    data = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    slide = sources.evaluation["slides"][entry["slide"]]
    which = "among the best" if entry["good"] else "among the worst"
    shown_as = [sources.names.slide(entry["slide"]), *(slide[name] for name in ("stain", "scanner", "source"))]
    caption = " · ".join(map(str, shown_as))
    caption += f" · {entry['class']}, IoU {entry['iou']:.2f} here, {which}"
    shown = picture(data.getvalue(), "jpeg", f"Example {sources.names.key(entry['key'])}: views, truth and predictions")
    return Html(f'<figure class="example"><figcaption>{text(caption)}</figcaption>{shown}</figure>')


def _confusions(sources: Sources) -> Html | None:
    if sources.evaluation is None:
        return None
    lead = f"{sources.steps[-1]['step']}: rows are the truth, columns the prediction, shares are of the row."
    return section("Confusion", lead, tables.confusion_matrices(sources))


def _groups(sources: Sources) -> Html | None:
    if sources.evaluation is None:
        return None
    first, last = sources.steps[0]["groups"], sources.steps[-1]["groups"]
    drawn = [
        figure(figures.group_iou(f"By {kind}", first[kind], last[kind]), f"IoU by {kind}")
        for kind in ("stain", "scanner", "source")
    ]
    pooled = [NAMES[split] for split in sources.splits if split != "val"] or [NAMES["val"]]
    lead = f"Slides of {' and '.join(pooled)}, pooled per group. Shaded: not in the train split."
    return section("IoU by stain, scanner and source", lead, grid(drawn, "three"))


def _one_against_rest(sources: Sources) -> Html | None:
    if sources.evaluation is None:
        return None
    drawn = []
    threshold = sources.evaluation["threshold"]
    for name in ("tumour", "others"):
        curves = {split: found[name] for split, found in sources.evaluation["curves"].items() if "auc" in found[name]}
        for draw in (figures.precision_recall, figures.roc, figures.over_threshold):
            drawn.append(figure(draw(name, curves, threshold), f"{name}: {draw.__name__.replace('_', ' ')}"))
    lead = (
        f"Scores of {sources.steps[-1]['step']} for one class, all thresholds in steps of 0.01; "
        f"the dot is at {threshold:g}."
    )
    return section("One class against the rest", lead, tables.area_table(sources), Html("<br>"), grid(drawn, "three"))


def _bad_regions(sources: Sources) -> Html | None:
    found = tables.bad_region_table(sources) if sources.evaluation else None
    if found is None:
        return None
    lead = "Recall: the part of the annotated folds, bubbles, blur and artefacts that is called others."
    return section("Bad regions", lead, found)


def _provenance(sources: Sources) -> Html:
    parts = [tables.hash_table(sources.hashes)] if sources.hashes else []
    if sources.config_text:
        parts.append(details("campaign.yaml, resolved, without paths", Html(f"<pre>{text(sources.config_text)}</pre>")))
    return section("Where this comes from", "Hashes of what went in, and the resolved config.", *parts)
