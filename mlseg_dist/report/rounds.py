"""The section about labels: what each round's teacher accepted, by class, stain and slide, and pictures of it."""

from typing import Any

from mlseg_core.html import Cell, Html, Section, details, left, note, table
from mlseg_dist.privacy.pseudonyms import shows_pseudonyms
from mlseg_dist.report import figures
from mlseg_dist.report.elements import drawing, made
from mlseg_dist.report.metrics import expected_of
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import LEARNT, ORDER, share

_WORST_SLIDES = 10


def labels_accepted(sources: Sources, pictures: Pictures) -> Section | None:
    """None before the first round."""
    if not sources.rounds:
        return None
    chart = drawing(figures.acceptance(sources.rounds), "Accepted pixels per round and class", "narrow")
    lead = (
        "Pixels of the train split on which each round's teacher was sure enough. A class whose share collapses from "
        "round to round is a warning: self-training drifts."
    )
    parts = [chart, *_reliability(sources.rounds), _by_stain(sources.rounds)]
    parts.append(details(f"The {_WORST_SLIDES} slides of which the last round accepted least", _worst_slides(sources)))
    sheets = [_sheet(entry, pictures) for entry in sources.rounds]
    return Section("Labels accepted per round", lead, [*parts, *(sheet for sheet in sheets if sheet is not None)])


def _reliability(rounds: list[dict[str, Any]]) -> list[Html]:
    """How often each round's teacher is expected to be right, and how much of each class it accepts so: a row a round and view."""
    asked = expected_of(rounds)
    if not asked:
        return []
    names = [Cell(name, "first" if name == ORDER[0] else "") for _ in range(2) for name in ORDER]
    head = [
        [
            Cell("", "left", 2),
            Cell("right, of what is accepted", "first", len(ORDER)),
            Cell("accepted and right, of the class", "first", len(ORDER)),
        ],
        [left("round"), left("view"), *names],
    ]
    rows = []
    for one in asked:
        for view in one["precision"]:
            figures = [(kind, name) for kind in ("precision", "recall") for name in ORDER]
            cells = [Cell(share(one[kind][view][name]), "first" if name == ORDER[0] else "") for kind, name in figures]
            rows.append([left(f"{one['round']} ({one['teacher']})"), left(view), *cells])
    said = (
        "Expected by what the teacher answers on the validation slides, in the shares of classes that unannotated tissue is "
        "estimated to have. On labs and scanners that the validation slides do not have this is optimistic."
    )
    return [table(head, rows), note(said)]


def _by_stain(rounds: list[dict[str, Any]]) -> Html:
    """Section of the pixels that was accepted, a row a stain, a column a round; then the last round's tumour and others."""
    stains = sorted({stain for entry in rounds for stain in entry["by_stain"]})
    head = [left("accepted"), *(Cell(f"round {entry['round']}") for entry in rounds)]
    head += [Cell(f"{name}, last round", "first" if name == LEARNT[0] else "") for name in LEARNT]
    rows = []
    for stain in stains:
        found = [entry["by_stain"].get(stain) for entry in rounds]
        last = [Cell(share(_share(found[-1], name)), "first" if name == LEARNT[0] else "") for name in LEARNT]
        rows.append([left(stain), *(share(_accepted(one)) for one in found), *last])
    return table([head], rows)


def _worst_slides(sources: Sources) -> Html:
    ordered = sorted(sources.rounds[-1]["by_slide"].items(), key=lambda item: _accepted(item[1]) or 0.0)
    rows = [[left(sources.shown_slide(slide)), share(_accepted(counts))] for slide, counts in ordered[:_WORST_SLIDES]]
    return table([[left("slide"), "accepted"]], rows)


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
    return None if shown is None else details(title, made.sheet(shown))


def _accepted(counts: dict[str, int] | None) -> float | None:
    pixels = sum(counts.values()) if counts else 0
    return 1 - counts["rejected"] / pixels if counts and pixels else None


def _share(counts: dict[str, int] | None, name: str) -> float | None:
    pixels = sum(counts.values()) if counts else 0
    return counts[name] / pixels if counts and pixels else None
