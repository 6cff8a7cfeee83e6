"""The section about labels: what each round's teacher accepted, by class, stain and slide, and pictures of it."""

from typing import Any

from mlseg_dist.config import CLASSES
from mlseg_dist.pseudonyms import Pseudonyms, shows_pseudonyms
from mlseg_dist.report import figures
from mlseg_dist.report.html import Html, cell, details, figure, head_cell, join, number, picture, section, table, text
from mlseg_dist.report.sources import Sources

_WORST_SLIDES = 10


def labels_accepted(sources: Sources) -> Html | None:
    """None before the first round."""
    if not sources.rounds:
        return None
    chart = figure(figures.acceptance(sources.rounds), "Accepted pixels per round and class")
    lead = (
        "Pixels of the train split on which each round's teacher was sure enough. A class whose share collapses from "
        "round to round is a warning: self-training drifts."
    )
    parts = [Html(chart.replace("<figure>", '<figure class="narrow">')), _by_stain(sources.rounds)]
    parts.append(
        details(
            f"The {_WORST_SLIDES} slides of which the last round accepted least",
            _worst_slides(sources.rounds[-1], sources.names),
        )
    )
    parts += [part for part in map(_sheet, sources.rounds) if part is not None]
    return section("Labels accepted per round", lead, *parts)


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


def _worst_slides(entry: dict[str, Any], names: Pseudonyms) -> Html:
    ordered = sorted(entry["by_slide"].items(), key=lambda item: _accepted(item[1]) or 0.0)
    head = [head_cell(text("slide"), "left"), head_cell(text("accepted"))]
    rows = [
        Html(f"<tr>{cell(text(names.slide(slide)), 'left')}{cell(number(_accepted(counts)))}</tr>")
        for slide, counts in ordered[:_WORST_SLIDES]
    ]
    return table([head], rows)


def _sheet(entry: dict[str, Any]) -> Html | None:
    path = entry["folder"] / str(entry.get("sheet"))
    if not entry.get("sheet") or not path.is_file():
        return None
    data = path.read_bytes()
    if not shows_pseudonyms(data):
        return Html(
            f"<p>The contact sheet of round {entry['round']} names slides in its captions, because an earlier version drew "
            f"it. It stays in the run folder: data/{text(path.parent.name)}/{text(path.name)}.</p>"
        )
    shown = picture(data, "jpeg", f"Patches with the labels of round {entry['round']}")
    return details(f"Patches with the labels of round {entry['round']}", Html(f"<figure>{shown}</figure>"))


def _accepted(counts: dict[str, int] | None) -> float | None:
    pixels = sum(counts.values()) if counts else 0
    return 1 - counts["rejected"] / pixels if counts and pixels else None


def _share(counts: dict[str, int] | None, name: str) -> float | None:
    pixels = sum(counts.values()) if counts else 0
    return counts[name] / pixels if counts and pixels else None
