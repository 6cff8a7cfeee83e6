"""The top of the page: the verdict in sentences, one tile a split. In: sources and checks. Out: HTML."""

from typing import Any

from mlseg_core.html import Html
from mlseg_dist.report.elements import Mark, made
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.verdict import Change, falls, over_control, sentences
from mlseg_dist.report.words import SPLIT_NAMES, Interval, counted, has_interval, limits, share, signed, value_of

LEADING = 2
"""Sentences of the verdict that are set large; one more with a control."""


def headline(sources: Sources, checks: dict[str, Any]) -> Html:
    """Name, badge, the verdict, one tile a split."""
    said = sentences(sources)
    leading = LEADING + bool(over_control(sources))
    badge, kind = _badge(sources, checks)
    tiles = [_tile(sources, split) for split in sources.splits]
    return made.headline(sources.config.name, badge, kind, " ".join(said[:leading]), " ".join(said[leading:]), tiles)


def _badge(sources: Sources, checks: dict[str, Any]) -> tuple[str, str]:
    """Its words and kind: green only where the checks passed and nothing became worse."""
    if sources.evaluation is None:
        return "earlier figures" if sources.is_earlier else "not evaluated yet", "open"
    rows = checks["checks"]
    failed = [row for row in rows if not row["passed"]]
    worse = [*falls(sources), *(one for one in over_control(sources) if one.is_fall)]
    clear = sum(one.is_clear for one in worse)
    if failed:
        said, kind = f"{len(failed)} of {len(rows)} checks failed", "bad"
    else:
        said, kind = f"all {len(rows)} checks passed" if rows else "no checks configured", "good" if rows else "open"
    if clear:
        said, kind = f"{said} · {counted(clear, 'figure')} worse", "bad"
    elif worse:
        said, kind = f"{said} · {counted(len(worse), 'figure')} may be worse", "bad" if failed else "warn"
    return said, kind


def _tile(sources: Sources, split: str) -> dict[str, Any]:
    steps = sources.steps
    facts = sources.block("splits", split)
    first, last = (sources.pooled(split, step, "miou") for step in (steps[0], steps[-1]))
    majority = facts.get("majority", {}).get("miou")
    patients = counted(facts.get("patients", 0), "patient")
    rows = [(f"{limits(last)} · {patients}" if has_interval(last) else f"n = {patients}, no interval", "", "")]
    if len(steps) > 1:
        row = sources.difference(split, steps[0], steps[-1]) or {}
        one = Change("", "", first, last, row.get("miou"))
        rows.append((steps[0], share(value_of(first)), ""))
        rows.append(("difference", signed(one.size, 2), limits(one.paired, 2, sign=True)))
    rows.append((f"always {sources.block('majority') or 'one class'}", share(majority), ""))
    tumour = facts.get("prevalence", {}).get("tumour")
    size = counted(facts.get("slides", 0), "slide")
    rows.append((size if tumour is None else f"{size}, {100 * tumour:.1f} % of the pixels tumour", "", ""))
    meter = _meter(last, value_of(first) if len(steps) > 1 else None, majority)
    return {"name": SPLIT_NAMES[split], "figure": share(value_of(last)), "meter": meter, "rows": rows}


def _meter(last: Interval, first: float | None, majority: float | None) -> list[Mark]:
    """The last step's figure and its interval on a scale from 0 to 1, the first step's, and a tick at one constant answer."""
    marks: list[Mark] = [("last", None, value_of(last) or 0.0)]
    if first is not None:
        marks.append(("base", None, first))
    if has_interval(last):
        marks.append(("range", last["low"], last["high"]))
    if majority is not None:
        marks.append(("mark", majority, None))
    return marks
