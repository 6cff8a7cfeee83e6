"""The whole page: one HTML file that needs nothing but itself and runs nothing. In: a corpus' folder. Out: its text."""

from pathlib import Path

from mlseg_core.files import sha256_file
from shards.manifest import SlideEntry
from shards.show import cards, charts, pairs, tables
from shards.show.colours import UNANNOTATED, class_colours, in_order
from shards.show.counts import by_split, classes, group, values
from shards.show.css import CSS
from shards.show.html import NOTHING, Html, details, join, section, text
from shards.show.remarks import Remark, remarks
from shards.show.sources import Corpus, read_corpus

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_OPEN_CARDS = 12
"""Cards that are seen at once; the others lie behind a fold."""
_LAYERS = (("tissue", "tissue border"), ("annotation", "annotation"), ("patches", "patches"))


def render(folder: Path) -> str:
    """The page of the corpus in `folder`; the same corpus gives the same text. Raises UserError."""
    corpus = read_corpus(folder)
    colours = class_colours(corpus.manifest.classes)
    parts = [_head(corpus)]
    parts += [_quarantine(corpus)] if corpus.quarantine else []
    parts += [
        _classes(corpus, colours),
        _pairs(corpus, colours),
        _slides(corpus, colours),
        _groups(corpus),
        _scores(corpus),
    ]
    parts += [_dropped(corpus), _all_slides(corpus), _provenance(corpus)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(corpus.name)} – mlseg shards</title><style>{CSS}</style></head>\n"
        f"<body><main>{join(parts)}</main></body></html>\n"
    )


def _head(corpus: Corpus) -> Html:
    manifest, found = corpus.manifest, remarks(corpus)
    whole, views = group(manifest), manifest.views
    annotated = whole.samples - whole.unannotated
    fields = [
        f"{views[f'{name}_mpp'] * views['store_px']:g} µm at {views[f'{name}_mpp']:g} µm/px" for name in ("high", "low")
    ]
    said = (
        f"{whole.slides:,} slides of {len(whole.patients):,} patients gave {whole.samples:,} pairs "
        f"({annotated:,} with a class at the seed, {whole.unannotated:,} on unannotated tissue) in "
        f"{len(manifest.shards):,} shards, {manifest.totals['bytes'] / 1e6:,.0f} MB. High views show {fields[0]}, "
        f"low views {fields[1]}, "
        f"{views['store_px']:g} px a side."
    )
    parts = [f"{name} {found.samples:,}" for name, found in by_split(manifest).items()]
    inside = "This page names slides and shows thumbnails of them: keep it inside, do not mail it."
    return Html(
        f'<header><p class="eyebrow">mlseg corpus</p><h1>{text(corpus.name)} {_badge(found)}</h1>'
        f'<p class="summary">{text(said)} Pairs per split: {text(", ".join(parts))}.</p>'
        f'<p class="summary"><b>{text(inside)}</b></p>{_remark_list(found)}</header>\n'
    )


def _badge(found: list[Remark]) -> Html:
    serious = sum(remark.serious for remark in found)
    if serious:
        return Html(f'<span class="badge bad">{serious} to settle first</span>')
    if found:
        return Html(f'<span class="badge note">{len(found)} to look at</span>')
    return Html('<span class="badge good">nothing stands out</span>')


def _remark_list(found: list[Remark]) -> Html:
    items = (Html(f"<li class={'bad' if remark.serious else 'note'}>{text(remark.sentence)}</li>") for remark in found)
    return Html(f'<ul class="remarks">{join(items)}</ul>') if found else NOTHING


def _slides(corpus: Corpus, colours: dict[str, str]) -> Html:
    chosen: list[SlideEntry] = cards.chosen(corpus)
    left_out = len(corpus.manifest.slides) - len(chosen)
    lead = (
        "Each slide with what was cut from it: tissue border dashed, annotations and the seeds of patches in the colours of "
        "their classes, the fields of the high views as a veil."
    )
    if left_out:
        lead += (
            f" {len(chosen)} of {len(corpus.manifest.slides)} slides: those in quarantine and flagged ones first, then by lot; "
            f"the other {left_out} are in the table at the end."
        )
    toggles = (
        Html(f'<input class="toggle" type="checkbox" id="see-{name}" checked><label for="see-{name}">{said}</label>')
        for name, said in _LAYERS
    )
    shown = {name: colours[name] for name in classes(corpus.manifest)} | {"unannotated": UNANNOTATED}
    drawn = [cards.card(corpus, slide, colours) for slide in chosen]
    first, rest = (
        Html(f'<div class="cards">{join(part)}</div>') for part in (drawn[:_OPEN_CARDS], drawn[_OPEN_CARDS:])
    )
    folded = details(f"{len(drawn) - _OPEN_CARDS} more slides", rest) if drawn[_OPEN_CARDS:] else NOTHING
    return section("Slides", lead, join(toggles), charts.legend(shown), first, folded)


def _pairs(corpus: Corpus, colours: dict[str, str]) -> Html:
    samples, unreadable = pairs.load(corpus)
    lead = (
        "Left the high, right the low view with the high view's field framed; below with their labels, unlabelled pixels "
        "paled. Classes in turn, spread over slides, stains and scanners."
    )
    if unreadable:
        lead += f" {unreadable} more could not be read: run mlseg shards verify."
    shown = {name: colours[name] for name in classes(corpus.manifest)}
    drawn = join(pairs.figure(corpus, sample, colours) for sample in samples)
    return section("Sample pairs", lead, charts.legend(shown), Html(f'<div class="pairs">{drawn}</div>'))


def _classes(corpus: Corpus, colours: dict[str, str]) -> Html:
    shown = {name: colours[name] for name in classes(corpus.manifest)}
    counted = (tables.class_table(corpus, colours), tables.pixel_table(corpus, colours))
    two = Html(f'<div class="two">{join(Html(f"<div>{one}</div>") for one in counted)}</div>')
    mix = charts.class_mix(corpus, colours)
    lead = "Pairs by the class at their centre, and labelled pixels of the high views. Shares are of the split."
    other = "Labelled pixels by class. A bar that differs from its neighbours is worth a look."
    return join([section("Classes", lead, two), section("Class mix", other, charts.legend(shown), mix)])


def _groups(corpus: Corpus) -> Html:
    lead = "Slides that gave pairs, and their pairs, per split."
    return section("Slides and pairs", lead, tables.slides_table(corpus))


def _scores(corpus: Corpus) -> Html:
    colours = in_order(values(corpus.manifest, "scanner"))
    drawn = charts.score_charts(corpus, colours)
    if drawn is None:
        return section("Scores", "No slide has a score.")
    return section("Scores", "Slides by the pathologist's score, coloured by scanner.", charts.legend(colours), drawn)


def _dropped(corpus: Corpus) -> Html:
    lead = "Points of the sampling grids that became no patch, and why."
    return section("What was dropped", lead, tables.dropped_table(corpus))


def _quarantine(corpus: Corpus) -> Html:
    lead = "These slides gave no samples. Mend or drop them in the slide table, then build again: only they are cut."
    return section("Quarantine", lead, tables.quarantine_table(corpus))


def _all_slides(corpus: Corpus) -> Html:
    shown = details(f"{len(corpus.manifest.slides)} slides", tables.all_slides_table(corpus))
    return section("All slides", "The slide table with what came of it.", shown)


def _provenance(corpus: Corpus) -> Html:
    manifest = corpus.manifest
    hashes = {
        "manifest.json": sha256_file(corpus.folder / "manifest.json"),
        "fingerprint": manifest.fingerprint,
        **manifest.parents,
    }
    said = join(Html(f"<p class='fact'>{text(name)} <code>{text(value)}</code></p>") for name, value in hashes.items())
    lead = "This page shows what the manifest says; mlseg shards verify proves it."
    return section("Where this comes from", lead, said)
