"""The section about domains: IoU by stain, scanner and source, with how many slides and patients each figure rests on."""

from typing import Any

from mlseg_core.html import Cell, Html, Row, Section, head_row, join, left, note, table, tagged
from mlseg_dist.config import FACTORS
from mlseg_dist.report.elements import Mark, class_heads, interval, made
from mlseg_dist.report.figure_ids import target
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.verdict import Change, domains_named
from mlseg_dist.report.words import LEARNT, SPLIT_NAMES, Interval, has_interval, listed, share, signed, value_of

MOST_ROWS = 15
"""Values of a factor that are shown: those with the lowest IoU; slides.csv lists every slide with its domains."""


def domains(sources: Sources) -> Section | None:
    last = sources.block("domains", sources.steps[-1]) if sources.steps else None
    if not last:
        return None
    before = {(one["factor"], one["value"]): one for one in sources.block("domains", sources.steps[0]) or []}
    body = []
    cut = []
    for factor in FACTORS:
        found = sorted((one for one in last if one["factor"] == factor), key=_order)
        if found[MOST_ROWS:]:
            cut.append(f"{len(found)} {factor}s")
        body += _rows(factor, found[:MOST_ROWS], before)
    first = sources.steps[0] if len(sources.steps) > 1 else ""
    parts = [table(_head(first), body, "wide domains", "IoU by domain"), note(_legend(first, sources.steps[-1]))]
    if cut:
        parts.append(
            note(f"Of {listed(cut)} only the {MOST_ROWS} with the lowest IoU are shown; slides.csv has all slides.")
        )
    confounded = domains_named(sources)
    if confounded:
        parts.append(
            note(
                f"Confounded here: {confounded}. One fixes the other on these slides, so that their parts cannot be told apart."
            )
        )
    if same := _same_slides(sources):
        parts.append(note(f"{same}: the figures above cannot tell which of them matters."))
    pooled = listed([SPLIT_NAMES[split] for split in sources.held_out])
    return Section("Domains", f"Slides of {pooled} together. “Unseen”: not in the train split.", parts)


def _same_slides(sources: Sources) -> str:
    """`GATA3, Aperio and DS8 are the same slides`: values that the training never saw, which no other slide tells apart."""
    found: dict[frozenset[str], list[str]] = {}
    slides = {slug: facts for slug, facts in sources.block("slides").items() if facts["split"] in sources.held_out}
    for factor in FACTORS:
        for value in sorted({facts[factor] for facts in slides.values() if factor in facts["unseen"]}):
            own = frozenset(slug for slug, facts in slides.items() if facts[factor] == value)
            found.setdefault(own, []).append(value)
    return "; ".join(f"{listed(values)} are the same slides" for values in found.values() if len(values) > 1)


def _order(one: dict[str, Any]) -> tuple[bool, float, str]:
    value = value_of(one["miou"])
    return value is None, value or 0.0, one["value"]


def _head(first: str) -> list[list[Cell]]:
    titles = head_row(["domain"], ["slides", "patients", "mIoU"])
    titles.append(Cell(made.unseen_words("drawn from 0 to 1"), "drawn"))
    titles += [Cell(f"since {first}")] if first else []
    return [[*titles, *class_heads(LEARNT), Cell("spread of slides")]]


def _rows(factor: str, found: list[dict[str, Any]], before: dict[tuple[str, str], dict[str, Any]]) -> list[Row]:
    named = join([target(f"iou-by-{factor}"), Html.escape(factor)])
    rows = [Row([Cell(named, "kind", span=8 + bool(before))])] if found else []
    for one in found:
        name = tagged(one["value"], ["unseen"] if one["unseen"] else [])
        was = before.get((factor, one["value"]), {}).get("miou") or {}
        cells = [left(name), *(Cell(f"{one[key]:,}") for key in ("slides", "patients"))]
        cells += [interval(one["miou"], "miou"), Cell(_drawn(one, was), "drawn")]
        if before:
            change = Change("", "", was, one["miou"])
            marked = "fell" if change.is_fall else "rose" if change.is_clear else ""
            known = value_of(was) is not None and value_of(one["miou"]) is not None
            cells.append(Cell(signed(change.size, 2) if known else "–", marked))
        cells += [interval(one["iou"].get(name)) for name in LEARNT]
        low, high = one.get("spread") or (None, None)
        cells.append(Cell(f"{share(low, 2)} – {share(high, 2)}" if low is not None else "–"))
        rows.append(Row(cells))
    return rows


def _drawn(one: dict[str, Any], was: Interval) -> Html:
    """Spread of the slides, the interval over patients, the first step (hollow) and the last (full), from 0 to 1."""
    bars = {"spread": one.get("spread") or (None, None), "range": _ends(one["miou"])}
    marks: list[Mark] = [(kind, *ends) for kind, ends in bars.items() if None not in ends]
    marks += [
        (kind, value_of(found), None)
        for kind, found in (("was", was), ("now", one["miou"]))
        if value_of(found) is not None
    ]
    return made.scale(marks)


def _ends(found: Interval) -> tuple[float | None, float | None]:
    return (found["low"], found["high"]) if has_interval(found) else (None, None)


def _legend(first: str, last: str) -> str:
    was = f"○ {first}, " if first else ""
    return f"Drawn from 0 to 1: {was}● {last}, dark: its 95 % interval over patients, pale: lowest to highest slide."
