"""The top of the page: the verdict in sentences, one tile a split. In: sources and checks. Out: HTML."""

from typing import Any

from mlseg_dist.report.html import Html, join, prose, text
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.verdict import Change, falls, over_control, sentences
from mlseg_dist.report.words import SPLIT_NAMES, Interval, counted, has_interval, limits, share, signed, value_of

LEADING = 2
"""Sentences of the verdict that are set large; one more with a control."""


def headline(sources: Sources, checks: dict[str, Any]) -> Html:
    """Name, badge, the verdict, one tile a split."""
    said = sentences(sources)
    leading = LEADING + bool(over_control(sources))
    verdict = f'<p class="summary">{prose(" ".join(said[:leading]))}</p>'
    if said[leading:]:
        verdict += f'<p class="further">{prose(" ".join(said[leading:]))}</p>'
    if sources.splits:
        verdict += f'<div class="tiles">{join(_tile(sources, split) for split in sources.splits)}</div>'
    return Html(
        f'<header><p class="eyebrow">mlseg campaign report</p><h1>{text(sources.config.name)} {_badge(sources, checks)}</h1>'
        f"{verdict}</header>"
    )


def _badge(sources: Sources, checks: dict[str, Any]) -> Html:
    """Green only where the checks passed and nothing became worse."""
    if sources.evaluation is None:
        return _tagged("open", "earlier figures" if sources.is_earlier else "not evaluated yet")
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
    return _tagged(kind, said)


def _tagged(kind: str, said: str) -> Html:
    return Html(f'<span class="badge {kind}">{text(said)}</span>')


def _tile(sources: Sources, split: str) -> Html:
    steps = sources.steps
    facts = sources.block("splits", split)
    first, last = (sources.pooled(split, step, "miou") for step in (steps[0], steps[-1]))
    majority = facts.get("majority", {}).get("miou")
    patients = counted(facts.get("patients", 0), "patient")
    rows = [f"{limits(last)} · {patients}" if has_interval(last) else f"n = {patients}, no interval"]
    if len(steps) > 1:
        row = sources.difference(split, steps[0], steps[-1]) or {}
        one = Change("", "", first, last, row.get("miou"))
        rows.append(f"{steps[0]} <b>{share(value_of(first))}</b>")
        rows.append(f"difference <b>{signed(one.size, 2)}</b> {limits(one.paired, 2, sign=True)}")
    constant = f"always {text(sources.block('majority') or 'one class')}"
    rows.append(f"{constant} <b>{share(majority)}</b>")
    tumour = facts.get("prevalence", {}).get("tumour")
    size = counted(facts.get("slides", 0), "slide")
    rows.append(size if tumour is None else f"{size}, {100 * tumour:.1f} % of the pixels tumour")
    meter = _meter(last, value_of(first) if len(steps) > 1 else None, majority)
    body = "".join(f'<div class="row">{row}</div>' for row in rows)
    return Html(
        f'<div class="tile"><div class="name">{text(SPLIT_NAMES[split])}</div>'
        f'<div class="big">{share(value_of(last))} <small>mean IoU</small></div>{meter}{body}</div>'
    )


def _meter(last: Interval, first: float | None, majority: float | None) -> Html:
    """The last step's figure and its interval on a scale from 0 to 1, the first step's, and a tick at one constant answer."""
    parts = [f'<i class="last" style="width:{percent(value_of(last))}"></i>']
    if first is not None:
        parts.append(f'<i class="base" style="width:{percent(first)}"></i>')
    if has_interval(last):
        place = f"left:{percent(last['low'])};width:{percent(last['high'] - last['low'])}"
        parts.append(f'<i class="range" style="{place}"></i>')
    if majority is not None:
        parts.append(f'<i class="mark" style="left:{percent(majority)}"></i>')
    return Html(f'<div class="meter" aria-hidden="true">{"".join(parts)}</div>')


def percent(value: float | None) -> str:
    """A place or length in a style attribute."""
    return f"{100 * min(max(value or 0.0, 0.0), 1.0):.1f}%"
