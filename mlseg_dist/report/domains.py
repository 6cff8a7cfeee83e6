"""The section about domains: IoU by stain, scanner and source, with how many slides and patients each figure rests on."""

from typing import Any

from mlseg_dist.config import FACTORS
from mlseg_dist.report.headline import percent
from mlseg_dist.report.html import (
    Html,
    Part,
    cell,
    class_name,
    head_cell,
    head_row,
    interval,
    note,
    part,
    row,
    table,
    tag,
    text,
)
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.verdict import Change, domains_named
from mlseg_dist.report.words import LEARNT, SPLIT_NAMES, Interval, has_interval, listed, share, signed, value_of

MOST_ROWS = 15
"""Values of a factor that are shown: those with the lowest IoU; slides.csv lists every slide with its domains."""


def domains(sources: Sources) -> Part | None:
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
    return part("Domains", f"Slides of {pooled} together. “Unseen”: not in the train split.", *parts)


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


def _head(first: str) -> list[list[Html]]:
    titles = head_row(["domain"], ["slides", "patients", "mIoU"])
    titles.append(head_cell(Html('<span class="hidden">drawn from 0 to 1</span>'), "drawn"))
    titles += [head_cell(text(f"since {first}"))] if first else []
    titles += [head_cell(class_name(name)) for name in LEARNT]
    return [[*titles, head_cell(text("spread of slides"))]]


def _rows(factor: str, found: list[dict[str, Any]], before: dict[tuple[str, str], dict[str, Any]]) -> list[Html]:
    rows = [row([cell(text(factor), "kind", span=8 + bool(before))])] if found else []
    for one in found:
        name = Html(f"{text(one['value'])}{tag('unseen') if one['unseen'] else ''}")
        was = before.get((factor, one["value"]), {}).get("miou") or {}
        cells = [cell(name, "left"), *(cell(text(f"{one[key]:,}")) for key in ("slides", "patients"))]
        cells += [cell(interval(one["miou"]), "miou"), cell(_drawn(one, was), "drawn")]
        if before:
            change = Change("", "", was, one["miou"])
            marked = "fell" if change.is_fall else "rose" if change.is_clear else ""
            known = value_of(was) is not None and value_of(one["miou"]) is not None
            cells.append(cell(text(signed(change.size, 2) if known else "–"), marked))
        cells += [cell(interval(one["iou"].get(name))) for name in LEARNT]
        low, high = one.get("spread") or (None, None)
        cells.append(cell(text(f"{share(low, 2)} – {share(high, 2)}" if low is not None else "–")))
        rows.append(row(cells))
    return rows


def _drawn(one: dict[str, Any], was: Interval) -> Html:
    """Spread of the slides, the interval over patients, the first step (hollow) and the last (full), from 0 to 1."""
    parts = []
    low, high = one.get("spread") or (None, None)
    for name, ends in (("spread", (low, high)), ("range", _ends(one["miou"]))):
        if ends[0] is not None and ends[1] is not None:
            parts.append(f'<i class="{name}" style="left:{percent(ends[0])};width:{percent(ends[1] - ends[0])}"></i>')
    for name, value in (("was", value_of(was)), ("now", value_of(one["miou"]))):
        if value is not None:
            parts.append(f'<i class="{name}" style="left:{percent(value)}"></i>')
    return Html(f'<span class="rail" aria-hidden="true">{"".join(parts)}</span>')


def _ends(found: Interval) -> tuple[float | None, float | None]:
    return (found["low"], found["high"]) if has_interval(found) else (None, None)


def _legend(first: str, last: str) -> str:
    was = f"○ {first}, " if first else ""
    return f"Drawn from 0 to 1: {was}● {last}, dark: its 95 % interval over patients, pale: lowest to highest slide."
