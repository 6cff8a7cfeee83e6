"""Sections at the end: who opened final-unseen, what the figures were made with, hashes and the resolved config."""

from mlseg_dist.report.html import (
    Html,
    Part,
    cell,
    details,
    head_cell,
    head_row,
    heading,
    left,
    number,
    part,
    row,
    table,
    text,
)
from mlseg_dist.report.sources import Sources

LEDGER = ("time", "user", "command", "reason")


def openings(sources: Sources) -> Part | None:
    """The ledger of final-unseen: every opening of the slides that are to be opened once."""
    if not sources.openings:
        return None
    rows = [row(cell(text(one.get(key) or "–"), "left wrap") for key in LEDGER) for one in sources.openings]
    lead = "Slides of final-unseen are to be scored once, at the very end. These are all openings of this corpus."
    return part("Openings of final-unseen", lead, table([head_row(LEDGER, [])], rows, "", "Openings of final-unseen"))


def provenance(sources: Sources) -> Part:
    parts = []
    if sources.block("teachers"):
        parts += [heading("How the figures were made"), _teachers(sources), _grid(sources)]
    if sources.hashes:
        parts += [heading("Hashes of what went in"), _hashes(sources.hashes)]
    if sources.config_text:
        parts.append(details("campaign.yaml, resolved", Html(f"<pre>{text(sources.config_text)}</pre>")))
    return part(
        "Where this comes from",
        "Teachers and their thresholds, hashes of what went in, and the resolved config.",
        *parts,
    )


def _teachers(sources: Sources) -> Html:
    rows = []
    for step, one in sources.block("teachers").items():
        cells = [left(step), cell(number(one.get("threshold"))), cell(number(one.get("temperature"), 2))]
        rows.append(row([*cells, left(one.get("source") or "–")]))
    head = [*head_row(["teacher"], ["threshold", "temperature"]), head_cell(text("chosen by"), "left")]
    return table([head], rows, "", "Teachers and thresholds")


def _grid(sources: Sources) -> Html:
    grid = sources.block("grid")
    known = {
        "cells of": ("cell_um", "{:g} µm"),
        "views of": ("view_px", "{:g} px"),
        "overlap": ("overlap", "{:g}"),
        "forwards per area": ("forwards_per_area", "{:.2f}"),
    }
    said = [f"{words} {form.format(grid[key])}" for words, (key, form) in known.items() if grid.get(key) is not None]
    unit = sources.block("unit")
    return Html(f'<p class="note">Unit: {text(unit or "–")}. {text(", ".join(said))}</p>')


def _hashes(hashes: dict[str, str]) -> Html:
    rows = [row([left(what), cell(Html(f"<code>{text(digest)}</code>"), "hash")]) for what, digest in hashes.items()]
    return table([head_row(["what", "sha256"], [])], rows, "", "Hashes")
