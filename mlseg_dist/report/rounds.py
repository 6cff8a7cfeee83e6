"""The section about labels: what each round's teacher accepted, by class, stain and slide, and pictures of it."""

from typing import Any

from mlseg_dist.config import CLASSES
from mlseg_dist.pseudonyms import shows_pseudonyms
from mlseg_dist.report import figures
from mlseg_dist.report.html import Html, Part, cell, details, figure, head_cell, join, note, number, part, table, text
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.sources import Sources

_WORST_SLIDES = 10


def labels_accepted(sources: Sources, pictures: Pictures) -> Part | None:
    """None before the first round."""
    if not sources.rounds:
        return None
    chart = figure(figures.acceptance(sources.rounds), "Accepted pixels per round and class", "narrow")
    lead = (
        "Pixels of the train split on which each round's teacher was sure enough. A class whose share collapses from "
        "round to round is a warning: self-training drifts."
    )
    parts = [chart, _by_stain(sources.rounds)]
    parts.append(details(f"The {_WORST_SLIDES} slides of which the last round accepted least", _worst_slides(sources)))
    sheets = [_sheet(entry, pictures) for entry in sources.rounds]
    return part("Labels accepted per round", lead, *parts, *(sheet for sheet in sheets if sheet is not None))


def _by_stain(rounds: list[dict[str, Any]]) -> Html:
    """Part of the pixels that was accepted, a row a stain, a column a round; then the last round's tumour and others."""
    stains = sorted({stain for entry in rounds for stain in entry["by_stain"]})
    head = [head_cell(text("accepted"), "left"), *(head_cell(text(f"round {entry['round']}")) for entry in rounds)]
    learnt = CLASSES[1:]
    head += [head_cell(text(f"{name}, last round"), "first" if name == learnt[0] else "") for name in learnt]
    rows = []
    for stain in stains:
        found = [entry["by_stain"].get(stain) for entry in rounds]
        cells = [cell(text(stain), "left"), *(cell(number(_accepted(one))) for one in found)]
        cells += [cell(number(_share(found[-1], name)), "first" if name == learnt[0] else "") for name in learnt]
        rows.append(Html(f"<tr>{join(cells, '')}</tr>"))
    return table([head], rows)


def _worst_slides(sources: Sources) -> Html:
    ordered = sorted(sources.rounds[-1]["by_slide"].items(), key=lambda item: _accepted(item[1]) or 0.0)
    head = [head_cell(text("slide"), "left"), head_cell(text("accepted"))]
    rows = [
        Html(f"<tr>{cell(text(sources.shown_slide(slide)), 'left')}{cell(number(_accepted(counts)))}</tr>")
        for slide, counts in ordered[:_WORST_SLIDES]
    ]
    return table([head], rows)


def _sheet(entry: dict[str, Any], pictures: Pictures) -> Html | None:
    """None where there is no sheet. One whose captions name slides, as earlier versions drew them, stays in the run folder."""
    path = entry["folder"] / str(entry.get("sheet"))
    if not entry.get("sheet") or not path.is_file():
        return None
    title = f"Patches with the labels of round {entry['round']}"
    if not shows_pseudonyms(path.read_bytes()):
        place = f"data/{path.parent.name}/{path.name}"
        return note(f"{title}: an earlier version drew them with names of slides. They stay in the run folder: {place}")
    shown = pictures.show(path, f"labels-{entry['round']}", title)
    return None if shown is None else details(title, Html(f"<figure>{shown}</figure>"))


def _accepted(counts: dict[str, int] | None) -> float | None:
    pixels = sum(counts.values()) if counts else 0
    return 1 - counts["rejected"] / pixels if counts and pixels else None


def _share(counts: dict[str, int] | None, name: str) -> float | None:
    pixels = sum(counts.values()) if counts else 0
    return counts[name] / pixels if counts and pixels else None
