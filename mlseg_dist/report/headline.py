"""The top of the page: did the campaign learn, and how far. In: sources and checks. Out: HTML."""

from typing import Any

from mlseg_dist.report.html import Html, join, number, text
from mlseg_dist.report.sources import Sources

NAMES = {"val": "validation", "test": "test", "dev-unseen": "unseen (dev)", "final-unseen": "unseen (final)"}


def headline(sources: Sources, checks: dict[str, Any]) -> Html:
    """Name, verdict, one sentence, one tile a split."""
    return Html(
        f'<header><p class="eyebrow">mlseg campaign report</p><h1>{text(sources.config.name)} {_badge(sources, checks)}</h1>'
        f'<p class="summary">{text(sentence(sources))}</p><div class="tiles">{_tiles(sources)}</div></header>'
    )


def _badge(sources: Sources, checks: dict[str, Any]) -> Html:
    rows = checks["checks"]
    failed = [row for row in rows if not row["passed"]]
    if sources.evaluation is None:
        return Html('<span class="badge open">not evaluated yet</span>')
    if not rows:
        return Html('<span class="badge open">no checks configured</span>')
    if failed:
        return Html(f'<span class="badge bad">{len(failed)} of {len(rows)} checks failed</span>')
    return Html(f'<span class="badge good">all {len(rows)} checks passed</span>')


def sentence(sources: Sources) -> str:
    """What a reader should remember."""
    if sources.evaluation is None:
        return "The steps have not been evaluated yet; the curves below show how far training has come."
    split = next((name for name in ("test", "val") if name in sources.splits), sources.splits[0])
    first, last = sources.steps[0], sources.steps[-1]
    reached = _miou(last, split)
    majority = sources.evaluation["splits"][split]["majority"]["miou"]
    said = f"On {NAMES[split]} slides, {last['step']} reaches a mean IoU of {number(reached, 2)}"
    if len(sources.steps) > 1:
        said += f", {first['step']} {number(_miou(first, split), 2)}"
    said += f" and always answering {sources.evaluation['majority']} {number(majority, 2)}."
    unseen = next((name for name in ("final-unseen", "dev-unseen") if name in sources.splits), None)
    if unseen:
        said += f" On stains, scanners and labs that it never saw it reaches {number(_miou(last, unseen), 2)}."
    return said


def _miou(step: dict[str, Any], split: str) -> float | None:
    return step["splits"][split]["pooled"]["miou"]


def _tiles(sources: Sources) -> Html:
    return join(_tile(sources, split) for split in sources.splits)


def _tile(sources: Sources, split: str) -> Html:
    assert sources.evaluation is not None
    facts, gain = sources.evaluation["splits"][split], sources.evaluation["gain"][split]
    first, last = (_miou(sources.steps[i], split) for i in (0, -1))
    majority = facts["majority"]["miou"]
    rows = f'<div class="row">majority <b>{number(majority)}</b>'
    if len(sources.steps) > 1:
        rows += f" · {text(sources.steps[0]['step'])} <b>{number(first)}</b>"
    rows += "</div>"
    if len(sources.steps) > 1 and gain["gain"] is not None:
        interval = f" (95 % {_plus(gain['low'])} … {_plus(gain['high'])})" if gain["slides"] > 1 else ""
        rows += f'<div class="row">gain <b>{_plus(gain["gain"])}</b>{interval}</div>'
    rows += f'<div class="row">{facts["slides"]} slides, {facts["pairs"]:,} patches</div>'
    meter = f'<i class="last" style="width:{_percent(last)}"></i>'
    meter += f'<i class="base" style="width:{_percent(first)}"></i>' if len(sources.steps) > 1 else ""
    meter += f'<i class="mark" style="left:{_percent(majority)}" title="majority"></i>'
    return Html(
        f'<div class="tile"><div class="name">{text(NAMES[split])}</div>'
        f'<div class="big">{number(last)} <small>mIoU</small></div><div class="meter">{meter}</div>{rows}</div>'
    )


def _plus(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _percent(value: float | None) -> str:
    return f"{100 * (value or 0):.1f}%"
