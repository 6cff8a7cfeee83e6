"""Class mixes per group (the paper's figure 2) and score histograms (figure 3), as inline SVG and CSS bars."""

from collections import Counter

from mlseg_core.html import Cell, Html, count, left, table
from shards.show.counts import KINDS, by_split, classes, group, splits, values
from shards.show.parts import made
from shards.show.sources import Corpus

_WIDTH, _HEIGHT = 168, 74


def class_mix(corpus: Corpus, colours: dict[str, str]) -> Html:
    """Labelled px by class: one stacked bar a split, stain, scanner and source."""
    manifest = corpus.manifest
    groups = [("split", name, found) for name, found in by_split(manifest).items()]
    for kind in KINDS:
        for value in values(manifest, kind):
            found = group(manifest, lambda slide, k=kind, v=value: getattr(slide, k) == v)  # type: ignore[misc]
            groups.append((kind, value or "(not given)", found))
    rows: list[list[Cell | str]] = []
    last = ""
    for kind, name, found in groups:
        total = sum(found.pixels.values())
        bar = [(n, found.pixels[n] / total, colours[n]) for n in classes(manifest) if total and found.pixels[n]]
        named = [Cell(kind if kind != last else "", "left quiet"), left(name)]
        rows.append([*named, Cell(made.stack(bar), "broad"), count(found.slides), count(found.samples)])
        last = kind
    head = ["", "", left("labelled pixels by class"), "slides", "pairs"]
    return table([head], rows, name="Class mix", id="class-mix")


def score_charts(corpus: Corpus, colours: dict[str, str]) -> Html | None:
    """Slides over their score: a column a stain, a row a split, stacked by scanner. None when no slide has a score."""
    scored = [slide for slide in corpus.manifest.slides if slide.score is not None and not slide.quarantined]
    if not scored:
        return None
    stains = sorted({slide.stain for slide in scored})
    rows = []
    for split in [name for name in splits(corpus.manifest) if any(slide.split == name for slide in scored)]:
        cells = [left(split)]
        for stain in stains:
            edges, step = _bins([slide.score for slide in scored if slide.stain == stain and slide.score is not None])
            bars = [Counter[str]() for _ in range(edges)]
            for slide in scored:
                if slide.stain == stain and slide.split == split and slide.score is not None:
                    bars[min(edges - 1, int(slide.score // step))][slide.scanner] += 1
            cells.append(Cell(_histogram(bars, step, colours) if any(bars) else "", "bars"))
        rows.append(cells)
    return table([[left("slides over score"), *map(left, stains)]], rows, name="Slides over score", id="scores")


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
    floor = 12.0 + height
    bins = []
    for number, bar in enumerate(bars):
        y, x, shapes = floor, number * width, []
        for scanner in sorted(bar):
            tall = height * bar[scanner] / top
            y -= tall
            shape = {"x": x + 1, "y": y, "width": width - 2, "height": tall}
            shapes.append(shape | {"colour": colours[scanner], "said": f"{scanner}: {bar[scanner]}"})
        of_bin = {"bars": shapes, "middle": x + width / 2, "top": y, "number": sum(bar.values())}
        bins.append(of_bin | {"tick": f"{number * step:g}"})
    return made.histogram(_WIDTH, _HEIGHT, floor + 0.5, bins)
