"""Slides, patches and pixels per split, stain, scanner, source and class (the paper's tables 4 and 5); dropped; quarantine."""

from collections import Counter

from mlseg_core.html import Cell, Html, count, dotted, left, percent, table, tagged
from shards.show.counts import KINDS, Group, by_split, classes, group, values
from shards.show.parts import made
from shards.show.sources import Corpus, Overview, placement_words

_MOST_TRACEBACK = 4000


def slides_table(corpus: Corpus) -> Html:
    """Table 4, with samples: a row a stain, scanner and source, two columns a split."""
    manifest = corpus.manifest
    by = by_split(manifest)
    over = ["", *(Cell(name, "group first", 2) for name in (*by, "all"))]
    columns = ["", *([Cell("slides", "first"), Cell("pairs")] * (len(by) + 1))]
    rows = [_sums("all", [*by.values()], group(manifest), "strong")]
    for kind in KINDS:
        rows.append([Cell(kind, "kind", len(columns))])
        for value in values(manifest, kind):
            here = [
                group(manifest, lambda s, k=kind, v=value, p=split: getattr(s, k) == v and s.split == p)  # type: ignore[misc]
                for split in by
            ]
            whole = group(manifest, lambda s, k=kind, v=value: getattr(s, k) == v)  # type: ignore[misc]
            rows.append(_sums(value or "(not given)", here, whole))
    return table([over, columns], rows, name="Slides and pairs", id="slides-by-group")


def _sums(name: str, groups: list[Group], whole: Group, classes: str = "") -> list[Cell]:
    cells = [Cell(name, f"left {classes}".strip())]
    for found in (*groups, whole):
        cells.append(Cell(count(found.slides), f"first {classes}".strip()))
        cells.append(Cell(count(found.samples), f"quiet {classes}".strip()))
    return cells


def class_table(corpus: Corpus, colours: dict[str, str]) -> Html:
    """Table 5: samples by the class at their seed, per split; the bar is the share within the split."""
    by = by_split(corpus.manifest)
    rows = [
        _bars(name, colours[name], [(g.seeds[name], g.samples, "pairs") for g in by.values()])
        for name in _seeded(corpus)
    ]
    if any(found.unannotated for found in by.values()):
        rows.append(_bars("unannotated tissue", "", [(g.unannotated, g.samples, "pairs") for g in by.values()]))
    rows.append(_totals([found.samples for found in by.values()]))
    return table([[left("class at the seed"), *by]], rows, name="Pairs by class", id="samples-by-class")


def pixel_table(corpus: Corpus, colours: dict[str, str]) -> Html:
    """Labelled px of the high views by class, per split; px as they lie in the shards, overlaps counted twice."""
    by = by_split(corpus.manifest)
    rows = []
    for name in classes(corpus.manifest):
        rows.append(_bars(name, colours[name], [(g.pixels[name], sum(g.pixels.values()), "px") for g in by.values()]))
    rows.append(_totals([sum(found.pixels.values()) for found in by.values()]))
    return table([[left("class of the pixel"), *by]], rows, name="Pixels by class", id="pixels-by-class")


def _seeded(corpus: Corpus) -> list[str]:
    return [name for name in corpus.manifest.classes if any(shard.seeds.get(name) for shard in corpus.manifest.shards)]


def _bars(name: str, colour: str, columns: list[tuple[int, int, str]]) -> list[Cell]:
    """columns: number, whole and unit per split."""
    cells = [left(dotted(name, colour or "var(--line)"))]
    for number, whole, unit in columns:
        share = number / whole if whole else 0.0
        shown = count(number) if unit == "pairs" else percent(share) if number else "–"
        bar = made.barred(shown, share if number else None, colour or "var(--muted)")
        cells.append(Cell(bar, "barred", title=f"{number:,} {unit}, {percent(share)}"))
    return cells


def _totals(numbers: list[int]) -> list[Cell]:
    return [Cell("all", "left strong"), *(Cell(count(number), "strong") for number in numbers)]


def dropped_table(corpus: Corpus) -> Html | None:
    """Points of the grids that became no patch, by reason."""
    points: Counter[str] = Counter()
    slides: Counter[str] = Counter()
    for overview in corpus.overviews.values():
        for reason, number in overview.dropped.items() if overview is not None else ():
            points[reason] += number
            slides[reason] += 1
    if not points:
        return None
    most = max(points.values())
    rows = []
    for reason, number in sorted(points.items(), key=lambda item: (-item[1], item[0])):
        bar = made.barred(count(number), number / most, "var(--muted)")
        rows.append([left(reason), Cell(bar, "barred"), count(slides[reason])])
    return table([[left("reason"), "points", "slides"]], rows, name="What was dropped", id="dropped")


def quarantine_table(corpus: Corpus) -> Html:
    rows = []
    for slug, bad in sorted(corpus.quarantine.items(), key=lambda item: item[1].slide):
        reason = made.reason(bad.reason, bad.traceback[-_MOST_TRACEBACK:])
        rows.append([Cell(bad.slide, "left", title=slug), Cell(reason, "left wrap")])
    return table([[left("slide"), left("reason")]], rows, name="Quarantine", id="quarantine")


def all_slides_table(corpus: Corpus) -> Html:
    """A row a slide."""
    names = ("slide", "patient", "stain", "scanner", "source", "split")
    columns = [*map(left, names), "score", "pairs", "mm", "µm/px", "tissue", left("labels from")]
    rows = []
    for slide in corpus.manifest.slides:
        view = corpus.overviews[slide.slug]
        marks = [*(view.flags if view is not None else ()), *(["quarantine"] * (slide.slug in corpus.quarantine))]
        cells = [left(tagged(slide.slide, marks)), *(left(getattr(slide, name)) for name in names[1:])]
        score = "–" if slide.score is None else f"{slide.score:g}"
        laid = view.laid if view is not None else None
        placed = left("–" if laid is None else placement_words(laid))
        rows.append([*cells, score, count(corpus.samples_of(slide)), *_measured(view), placed])
    return table([columns], rows, name="All slides", id="all-slides")


def _measured(view: Overview | None) -> tuple[str, str, str]:
    """Sides in mm, µm/px, and the share of tissue."""
    if view is None:
        return "–", "–", "–"
    sides = " × ".join(f"{px * mpp / 1000:.1f}" for px, mpp in zip(view.size, view.mpp, strict=True))
    tissue = percent(view.measures["tissue_share"]) if "tissue_share" in view.measures else "–"
    return sides, f"{view.mpp[0]:.3g}", tissue
