"""The whole page: one HTML file that needs nothing but itself and runs nothing. In: a corpus' folder. Out: its text."""

from pathlib import Path

from mlseg_core.files import sha256_file
from shards.show import cards, charts, pairs, tables
from shards.show.colours import UNANNOTATED, class_colours, in_order
from shards.show.counts import by_split, classes, group, values
from shards.show.parts import TEMPLATES
from shards.show.remarks import Remark, remarks
from shards.show.sources import Corpus, read_corpus

_OPEN_CARDS = 12
"""Cards that are seen at once; the others lie behind a fold."""


def render(folder: Path) -> str:
    """The page of the corpus in `folder`; the same corpus gives the same text. Raises UserError."""
    corpus = read_corpus(folder)
    manifest, found = corpus.manifest, remarks(corpus)
    colours, scanners = class_colours(manifest.classes), in_order(values(manifest, "scanner"))
    shown = {name: colours[name] for name in classes(manifest)}
    samples, unreadable = pairs.load(corpus)
    return TEMPLATES.page(
        "corpus.html",
        kind="shards",
        name=corpus.name,
        verdict=_verdict(found),
        summary=_summary(corpus),
        remarks=found,
        class_colours=shown,
        seed_colours=shown | {"unannotated": UNANNOTATED},
        scanner_colours=scanners,
        quarantine=tables.quarantine_table(corpus) if corpus.quarantine else None,
        pairs_by_class=tables.class_table(corpus, colours),
        pixels_by_class=tables.pixel_table(corpus, colours),
        class_mix=charts.class_mix(corpus, colours),
        pairs=[pairs.figure(corpus, sample, colours) for sample in samples],
        unreadable=unreadable,
        cards=[cards.card(corpus, slide, colours) for slide in cards.chosen(corpus)],
        open_cards=_OPEN_CARDS,
        slides=len(manifest.slides),
        slides_by_group=tables.slides_table(corpus),
        scores=charts.score_charts(corpus, scanners),
        dropped=tables.dropped_table(corpus),
        all_slides=tables.all_slides_table(corpus),
        hashes={
            "manifest.json": sha256_file(corpus.folder / "manifest.json"),
            "fingerprint": manifest.fingerprint,
            **manifest.parents,
        },
    )


def _summary(corpus: Corpus) -> str:
    manifest = corpus.manifest
    whole, views = group(manifest), manifest.views
    annotated = whole.samples - whole.unannotated
    fields = [
        f"{views[f'{name}_mpp'] * views['store_px']:g} µm at {views[f'{name}_mpp']:g} µm/px" for name in ("high", "low")
    ]
    parts = ", ".join(f"{name} {found.samples:,}" for name, found in by_split(manifest).items())
    return (
        f"{whole.slides:,} slides of {len(whole.patients):,} patients gave {whole.samples:,} pairs "
        f"({annotated:,} with a class at the seed, {whole.unannotated:,} on unannotated tissue) in "
        f"{len(manifest.shards):,} shards, {manifest.totals['bytes'] / 1e6:,.0f} MB. High views show {fields[0]}, "
        f"low views {fields[1]}, {views['store_px']:g} px a side. Pairs per split: {parts}."
    )


def _verdict(found: list[Remark]) -> tuple[str, str]:
    """Words and kind of the badge."""
    serious = sum(remark.serious for remark in found)
    if serious:
        return f"{serious} to settle first", "bad"
    return (f"{len(found)} to look at", "open") if found else ("nothing stands out", "good")
