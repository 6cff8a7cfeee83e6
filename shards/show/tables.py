"""Slides, patches and pixels per split, stain, scanner, source and class (the paper's tables 4 and 5); dropped; quarantine."""

from collections import Counter

from shards.show.counts import KINDS, Group, by_split, classes, group, values
from shards.show.html import NOTHING, Html, cell, count, details, dot, head, join, percent, table, text
from shards.show.sources import Corpus
from shards.show.words import placement_words

_MOST_TRACEBACK = 4000


def slides_table(corpus: Corpus) -> Html:
    """Table 4, with samples: a row a stain, scanner and source, two columns a split."""
    manifest = corpus.manifest
    by = by_split(manifest)
    over = join(Html(f'<th class="over first" colspan="2">{text(name)}</th>') for name in (*by, "all"))
    columns = [head(""), *([head("slides", "first"), head("pairs")] * (len(by) + 1))]
    rows = [_sums("all", [*by.values()], group(manifest), "strong")]
    for kind in KINDS:
        rows.append(Html(f'<td class="kind" colspan="{len(columns)}">{text(kind)}</td>'))
        for value in values(manifest, kind):
            here = [
                group(manifest, lambda s, k=kind, v=value, p=split: getattr(s, k) == v and s.split == p)  # type: ignore[misc]
                for split in by
            ]
            whole = group(manifest, lambda s, k=kind, v=value: getattr(s, k) == v)  # type: ignore[misc]
            rows.append(_sums(value or "(not given)", here, whole))
    return table("slides-by-group", columns, rows, Html(f"<th></th>{over}"))


def _sums(name: str, groups: list[Group], whole: Group, classes: str = "") -> Html:
    cells = [cell(text(name), f"left {classes}".strip())]
    for found in (*groups, whole):
        cells += [
            cell(count(found.slides), f"first {classes}".strip()),
            cell(count(found.samples), f"quiet {classes}".strip()),
        ]
    return join(cells)


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
    return table("samples-by-class", [head("class at the seed", "left"), *(head(split) for split in by)], rows)


def pixel_table(corpus: Corpus, colours: dict[str, str]) -> Html:
    """Labelled px of the high views by class, per split; px as they lie in the shards, overlaps counted twice."""
    by = by_split(corpus.manifest)
    rows = []
    for name in classes(corpus.manifest):
        rows.append(_bars(name, colours[name], [(g.pixels[name], sum(g.pixels.values()), "px") for g in by.values()]))
    rows.append(_totals([sum(found.pixels.values()) for found in by.values()]))
    return table("pixels-by-class", [head("class of the pixel", "left"), *(head(split) for split in by)], rows)


def _seeded(corpus: Corpus) -> list[str]:
    return [name for name in corpus.manifest.classes if any(shard.seeds.get(name) for shard in corpus.manifest.shards)]


def _bars(name: str, colour: str, columns: list[tuple[int, int, str]]) -> Html:
    """columns: number, whole and unit per split."""
    cells = [cell(Html(f"{dot(colour) if colour else dot('var(--line)')}{text(name)}"), "left")]
    for number, whole, unit in columns:
        share = number / whole if whole else 0.0
        shown = count(number) if unit == "pairs" else text(percent(share) if number else "–")
        bar = Html(f'<i class="bar" style="width:{100 * share:.1f}%;background:{colour or "var(--muted)"}"></i>')
        cells.append(
            cell(
                Html(f'{shown}<span class="rail">{bar if number else ""}</span>'),
                "barred",
                f"{number:,} {unit}, {percent(share)}",
            )
        )
    return join(cells)


def _totals(numbers: list[int]) -> Html:
    return join([cell(text("all"), "left strong"), *(cell(count(number), "strong") for number in numbers)])


def dropped_table(corpus: Corpus) -> Html:
    """Points of the grids that became no patch, by reason."""
    points: Counter[str] = Counter()
    slides: Counter[str] = Counter()
    for overview in corpus.overviews.values():
        for reason, number in overview.dropped.items() if overview is not None else ():
            points[reason] += number
            slides[reason] += 1
    if not points:
        return Html("<p>Nothing was dropped.</p>")
    columns = [head("reason", "left"), head("points"), head("slides")]
    most = max(points.values())
    rows = []
    for reason, number in sorted(points.items(), key=lambda item: (-item[1], item[0])):
        bar = Html(
            f'<span class="rail"><i class="bar" style="width:{100 * number / most:.1f}%;background:var(--muted)"></i></span>'
        )
        rows.append(
            join(
                [cell(text(reason), "left"), cell(Html(f"{count(number)}{bar}"), "barred"), cell(count(slides[reason]))]
            )
        )
    return table("dropped", columns, rows)


def quarantine_table(corpus: Corpus) -> Html:
    rows = []
    for slug, bad in sorted(corpus.quarantine.items(), key=lambda item: item[1].slide):
        trace = NOTHING
        if bad.traceback:
            trace = details("traceback", Html(f"<pre>{text(bad.traceback[-_MOST_TRACEBACK:])}</pre>"))
        rows.append(join([cell(text(bad.slide), "left", slug), cell(Html(f"{text(bad.reason)}{trace}"), "left wrap")]))
    return table("quarantine", [head("slide", "left"), head("reason", "left")], rows)


def all_slides_table(corpus: Corpus) -> Html:
    """A row a slide."""
    names = ("slide", "patient", "stain", "scanner", "source", "split")
    columns = [
        *(head(name, "left") for name in names),
        *(head(name) for name in ("score", "pairs", "mm", "µm/px", "tissue")),
        head("labels from", "left"),
    ]
    rows = []
    for slide in corpus.manifest.slides:
        view = corpus.overviews[slide.slug]
        marks = [
            *(view.flags if view is not None else ()),
            *(["quarantine"] if slide.slug in corpus.quarantine else ()),
        ]
        tags = join(Html(f'<span class="tag">{text(mark)}</span>') for mark in marks)
        name = Html(f"{text(slide.slide)}{tags}")
        cells = [cell(name, "left"), *(cell(text(getattr(slide, n)), "left") for n in names[1:])]
        cells.append(cell(text("–" if slide.score is None else f"{slide.score:g}")))
        cells.append(cell(count(corpus.samples_of(slide))))
        cells += [
            cell(text(said))
            for said in (
                ("–", "–", "–")
                if view is None
                else (
                    " × ".join(f"{px * mpp / 1000:.1f}" for px, mpp in zip(view.size, view.mpp, strict=True)),
                    f"{view.mpp[0]:.3g}",
                    percent(view.measures["tissue_share"]) if "tissue_share" in view.measures else "–",
                )
            )
        ]
        laid = view.laid if view is not None else None
        cells.append(cell(text("–" if laid is None else placement_words(laid)), "left"))
        rows.append(join(cells))
    return table("all-slides", [*columns], rows)
