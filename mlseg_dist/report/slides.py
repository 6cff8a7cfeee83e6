"""Sections about single slides: which got better and worse, the worst with pictures, and slides.csv with all of them."""

from typing import Any

from mlseg_core.csv_text import write_rows
from mlseg_core.html import (
    Cell,
    Html,
    Section,
    details,
    grid,
    head_row,
    heading,
    join,
    left,
    note,
    table,
    tagged,
    warning,
)
from mlseg_dist.config import CLASSES, FACTORS, HELD_OUT
from mlseg_dist.report.elements import class_heads, made
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import LEARNT, ORDER, SPLIT_NAMES, counted, listed, share, signed

TABLE = "slides.csv"
MOST_MOVED, MOST_WORST, MOST_BEST, MOST_PICTURES = 10, 15, 5, 6
HEAD = ("slide", "patient", "split", "stain", "scanner", "source", "unseen")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for a formula."""


def slides(sources: Sources, pictures: Pictures) -> Section | None:
    if not sources.block("slides"):
        return None
    body = _not_scored(sources)
    body += _worst_pictures(sources, pictures)
    body += [heading("Lowest and highest"), _extremes(sources)]
    if len(sources.steps) > 1:
        body += [heading(f"From {sources.steps[0]} to {sources.steps[-1]}"), _moved(sources)]
    body.append(made.table_file(TABLE, not pictures.inside))
    lead = (
        "Slides and patients have pseudonyms here; `mlseg names RUN PSEUDONYM` tells whoever may read the run folder which "
        "slide is meant."
    )
    return Section("Slides", lead, body)


def _not_scored(sources: Sources) -> list[Html]:
    missing = sources.block("not_scored") or []
    if not missing:
        return []
    rows = [
        [
            left(sources.shown_slide(one["slide"])),
            left(SPLIT_NAMES.get(one["split"], one["split"])),
            left(one["step"] or "all"),
            Cell(sources.shown_text(one["why"]), "left wrap"),
        ]
        for one in missing[:MOST_WORST]
    ]
    slides_left_out = counted(len({one["slide"] for one in missing}), "slide")
    said = f"{slides_left_out} could not be scored by some step; no figure of that step contains them."
    parts = [
        warning(said),
        table([head_row(["slide", "on", "step", "why"], [])], rows, "", "Slides that were not scored"),
    ]
    if missing[MOST_WORST:]:
        parts.append(note(f"and {len(missing) - MOST_WORST} more"))
    return parts


def _worst_pictures(sources: Sources, pictures: Pictures) -> list[Html]:
    """Thumbnail and maps of the slides that the last step does worst; those of the validation slides behind a fold."""
    found = []
    for split in sources.splits:
        entries = [
            one for one in sources.block("pictures") or [] if one.get("kind") == "worst" and one["split"] == split
        ]
        shown = [_worst_picture(sources, pictures, place, one) for place, one in enumerate(entries[:MOST_PICTURES])]
        drawn = [one for one in shown if one is not None]
        if drawn:
            title, body = f"The worst of {SPLIT_NAMES[split]}", grid(drawn, "two")
            found += [heading(title), body] if split in HELD_OUT else [details(title, body)]
    return found


def _worst_picture(sources: Sources, pictures: Pictures, place: int, entry: dict[str, Any]) -> Html | None:
    path = sources.evaluation_folder / "pictures" / entry["file"]
    step = entry.get("step") or sources.steps[-1]
    who, figures = _described(sources, entry["slide"]), f"{step}: {_figures(sources, entry['slide'], step)}"
    alt = f"Slide, map of the classes and errors: {who}, {figures}"
    shown = pictures.show(path, f"worst-{entry['split']}-{place:02d}", alt)
    return None if shown is None else made.pictured("worst", shown, figures, who)


def _described(sources: Sources, slug: str) -> str:
    facts = sources.block("slides", slug)
    return " · ".join([sources.shown_slide(slug), *(str(facts.get(name, "")) for name in FACTORS)])


def _figures(sources: Sources, slug: str, step: str) -> str:
    found = sources.block("slides", slug, "figures", step)
    each = ", ".join(f"{name} {share(found.get('iou', {}).get(name), 2)}" for name in LEARNT)
    return f"mean IoU {share(found.get('miou'), 2)}, {each}"


def _miou(sources: Sources, slug: str, step: str) -> float | None:
    return sources.block("slides", slug, "figures", step).get("miou")


def _extremes(sources: Sources) -> Html:
    """The worst and the best slides of the held-out splits, by the last step."""
    last = sources.steps[-1]
    found = sources.block("slides")
    scored = [
        slug for slug in found if found[slug]["split"] in sources.held_out and _miou(sources, slug, last) is not None
    ]
    scored.sort(key=lambda slug: (_miou(sources, slug, last), slug))
    worst = scored[:MOST_WORST]
    best = scored[len(worst) :][-MOST_BEST:]
    rows = [_slide_row(sources, slug) for slug in worst]
    if best:
        left_out = len(scored) - len(worst) - len(best)
        if left_out:
            rows.append([Cell(f"{left_out:,} more", "kind", span=5 + len(CLASSES))])
        rows += [_slide_row(sources, slug) for slug in best]
    head = head_row(
        ["slide", "on", "stain, scanner, source"],
        ["mIoU", *([f"since {sources.steps[0]}"] if len(sources.steps) > 1 else [])],
    )
    return table([[*head, *class_heads(ORDER)]], rows, "wide", "Slides with the lowest and highest IoU")


def _slide_row(sources: Sources, slug: str) -> list[Cell | str]:
    facts, last = sources.block("slides", slug), sources.steps[-1]
    unseen = "unseen" if len(facts["unseen"]) == len(FACTORS) else f"unseen {listed(facts['unseen'])}"
    domain = tagged(" · ".join(facts[name] for name in FACTORS), [unseen] if facts["unseen"] else [])
    now, was = (_miou(sources, slug, step) for step in (last, sources.steps[0]))
    named = [left(sources.shown_slide(slug)), left(SPLIT_NAMES[facts["split"]]), left(domain)]
    cells: list[Cell | str] = [*named, Cell(share(now), "miou")]
    if len(sources.steps) > 1:
        cells.append(signed(now - was if now is not None and was is not None else None))
    iou = sources.block("slides", slug, "figures", last).get("iou", {})
    return [*cells, *(share(iou.get(name)) for name in ORDER)]


def _moved(sources: Sources) -> Html:
    """How many slides got better and worse from the first step to the last, and which moved most."""
    shown = []
    for split in sources.splits:
        found = sources.difference(split, sources.steps[0], sources.steps[-1])
        if found is None:
            continue
        better, worse = found.get("better") or [], found.get("worse") or []
        total = sources.block("splits", split).get("slides", 0)
        said = f"{SPLIT_NAMES[split]}: {len(better)} of {counted(total, 'slide')} better, {len(worse)} worse"
        lists = [_moved_table(sources, "worse", worse), _moved_table(sources, "better", better)]
        shown.append(made.block(4, said, "", join(one for one in lists if one is not None)))
    return grid(shown, "two")


def _moved_table(sources: Sources, which: str, slugs: list[str]) -> Html | None:
    if not slugs:
        return None
    first, last = sources.steps[0], sources.steps[-1]
    rows = []
    for slug in slugs[:MOST_MOVED]:
        was, now = (_miou(sources, slug, step) for step in (first, last))
        change = now - was if now is not None and was is not None else None
        moved = Cell(signed(change), "fell" if which == "worse" else "rose")
        rows.append([left(sources.shown_slide(slug)), share(was), share(now), moved])
    body = [table([head_row([f"{which} slides"], [first, last, "change"])], rows, "", f"Slides that got {which}")]
    if slugs[MOST_MOVED:]:
        body.append(note(f"and {len(slugs) - MOST_MOVED:,} more, in {TABLE}"))
    return details(f"The {len(rows)} that got {which} most", *body) if which == "better" else join(body)


def slides_csv(sources: Sources) -> str:
    """A row a slide: who it is, then mean IoU and IoU of every class for each step."""
    titles = [f"{step} {name}" for step in sources.steps for name in ("mIoU", *CLASSES)]
    rows: list[list[object]] = [[*HEAD, *(f"{name} pixels" for name in CLASSES), *titles]]
    found = sources.block("slides")
    order = sorted(found, key=lambda slug: (sources.splits.index(found[slug]["split"]), sources.shown_slide(slug)))
    for slug in order:
        facts = found[slug]
        who = [sources.shown_slide(slug), sources.shown_patient(facts["patient"]), facts["split"]]
        who += [_harmless(str(facts[name])) for name in FACTORS]
        counts = [facts.get("pixels", {}).get(name, 0) for name in CLASSES]
        figures = []
        for step in sources.steps:
            one = sources.block("slides", slug, "figures", step)
            figures += [one.get("miou"), *(one.get("iou", {}).get(name) for name in CLASSES)]
        shown = ["" if one is None else f"{one:.6f}" for one in figures]
        rows.append([*who, " ".join(facts["unseen"]), *counts, *shown])
    return write_rows(rows)


def _harmless(name: str) -> str:
    """A name that a spreadsheet would compute gets an apostrophe, which makes it text."""
    return f"'{name}" if name.startswith(FORMULA) else name
