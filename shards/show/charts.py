"""Class mixes per group (the paper's figure 2) and score histograms (figure 3), as inline SVG and CSS bars."""

from collections import Counter

from shards.show.counts import KINDS, by_split, classes, group, splits, values
from shards.show.html import NOTHING, Html, cell, count, dot, head, join, percent, table, text
from shards.show.sources import Corpus

_WIDTH, _HEIGHT = 168, 74


def legend(colours: dict[str, str]) -> Html:
    return Html(f'<p class="legend">{join(Html(f"<span>{dot(c)}{text(n)}</span> ") for n, c in colours.items())}</p>')


def class_mix(corpus: Corpus, colours: dict[str, str]) -> Html:
    """Labelled px by class: one stacked bar a split, stain, scanner and source."""
    manifest = corpus.manifest
    groups = [("split", name, found) for name, found in by_split(manifest).items()]
    for kind in KINDS:
        for value in values(manifest, kind):
            found = group(manifest, lambda slide, k=kind, v=value: getattr(slide, k) == v)  # type: ignore[misc]
            groups.append((kind, value or "(not given)", found))
    rows, last = [], ""
    for kind, name, found in groups:
        total = sum(found.pixels.values())
        parts = [(n, found.pixels[n] / total) for n in classes(manifest) if total and found.pixels[n]]
        bar = join(
            Html(
                f'<i style="width:{100 * share:.2f}%;background:{colours[n]}" title="{text(f"{n} {percent(share)}")}"></i>'
            )
            for n, share in parts
        )
        cells = [cell(text(kind if kind != last else ""), "left quiet"), cell(text(name), "left")]
        cells += [
            cell(Html(f'<span class="stack">{bar}</span>'), "wide"),
            cell(count(found.slides)),
            cell(count(found.samples)),
        ]
        rows.append(join(cells))
        last = kind
    return table(
        "class-mix", [head(""), head(""), head("labelled pixels by class", "left"), head("slides"), head("pairs")], rows
    )


def score_charts(corpus: Corpus, colours: dict[str, str]) -> Html | None:
    """Slides over their score: a column a stain, a row a split, stacked by scanner. None when no slide has a score."""
    scored = [slide for slide in corpus.manifest.slides if slide.score is not None and not slide.quarantined]
    if not scored:
        return None
    stains = sorted({slide.stain for slide in scored})
    rows = []
    for split in [name for name in splits(corpus.manifest) if any(slide.split == name for slide in scored)]:
        cells = [cell(text(split), "left")]
        for stain in stains:
            edges, step = _bins([slide.score for slide in scored if slide.stain == stain and slide.score is not None])
            bars = [Counter[str]() for _ in range(edges)]
            for slide in scored:
                if slide.stain == stain and slide.split == split and slide.score is not None:
                    bars[min(edges - 1, int(slide.score // step))][slide.scanner] += 1
            cells.append(cell(_histogram(bars, step, colours) if any(bars) else NOTHING, "chart"))
        rows.append(join(cells))
    return table("scores", [head("slides over score", "left"), *(head(stain, "left") for stain in stains)], rows)


def _bins(scores: list[float]) -> tuple[int, float]:
    """Number of bins and their width: HER2 0-3, Allred 0-8, else tenths up to 100."""
    most = max(scores)
    if most <= 3:
        return 4, 1.0
    return (9, 1.0) if most <= 8 else (10, 10.0 * max(1, -(-most // 100)))


def _histogram(bars: list[Counter[str]], step: float, colours: dict[str, str]) -> Html:
    """Each bar stacked by scanner; the number of slides over it, the score's bin under it."""
    top = max(sum(bar.values()) for bar in bars)
    width, height = _WIDTH / len(bars), _HEIGHT - 26
    parts = []
    for number, bar in enumerate(bars):
        y, x = 12.0 + height, number * width
        for scanner in sorted(bar):
            tall = height * bar[scanner] / top
            y -= tall
            said = text(f"{scanner}: {bar[scanner]}")
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{tall:.1f}" fill="{colours[scanner]}">'
                f"<title>{said}</title></rect>"
            )
        middle = x + width / 2
        if bar:
            parts.append(f'<text x="{middle:.1f}" y="{y - 2:.1f}">{sum(bar.values())}</text>')
        parts.append(f'<text class="axis" x="{middle:.1f}" y="{_HEIGHT - 3}">{number * step:g}</text>')
    parts.append(f'<path class="axis" d="M0 {12.5 + height:g}H{_WIDTH}"/>')
    return Html(f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>')
