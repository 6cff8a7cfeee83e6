"""Sections at the end: evaluations by hand, openings of final-unseen, what the figures were made with, hashes, the config."""

from typing import Any

from mlseg_core.html import Cell, Html, Section, details, head_row, heading, left, note, table
from mlseg_dist.report.elements import class_heads, interval, made
from mlseg_dist.report.figure_ids import target
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import LEARNT, SPLIT_NAMES, limits, pixels, share, signed


def by_hand(sources: Sources) -> Section | None:
    """What `mlseg evaluate` scored beside the campaign: the last step on each split, and the difference from another run."""
    rows = []
    for name, found in sources.by_hand.items():
        for split, figures in found["figures"].items():
            step = found["steps"][-1] if found["steps"] else ""
            pooled = figures.get(step, {}).get("pooled", {})
            cells = [left(name), left(SPLIT_NAMES[split]), left(step), interval(pooled.get("miou"), "miou")]
            cells += [interval(pooled.get("iou", {}).get(one)) for one in LEARNT]
            rows.append([*cells, _against(found, split, step)])
    if not rows:
        return None
    head = [*head_row(["evaluation", "on", "step"], ["mIoU"]), *class_heads(LEARNT), "over another run"]
    lead = "Written by `mlseg evaluate` into the run's folder `evaluations`; the last step of each."
    return Section("Evaluations by hand", lead, [table([head], rows, "", "Evaluations by hand")])


def _against(found: dict[str, Any], split: str, step: str) -> Cell:
    """The paired difference from another run's step, with its name."""
    against = found.get("against") or {}
    rows = [one for one in against.get("differences", {}).get(split) or [] if one["to"] == step]
    if not rows:
        return Cell("–")
    said = f"{signed(rows[0]['miou']['value'])} {limits(rows[0]['miou'], 2, sign=True)}"
    return Cell(said, small=f"{rows[0]['from']} of {against['name']}")


def openings(sources: Sources) -> Section | None:
    """The ledger of final-unseen: every opening of the slides that are to be opened once."""
    if not sources.openings:
        return None
    rows = []
    for one in sources.openings:
        reason = sources.shown_text(one.reason) if one.reason else "first opening"
        state = "" if one.finished else " (not finished)"
        rows.append([left(one.time), Cell(f"{reason}{state}", "left wrap"), Cell(", ".join(one.teachers), "left wrap")])
    lead = (
        "Slides of final-unseen are to be scored once, at the very end. These are all openings of this corpus that the run and its "
        "user know of; `final-unseen.jsonl` in the run folder says who."
    )
    body = table([head_row(["time", "why", "teachers"], [])], rows, "", "Openings of final-unseen")
    return Section("Openings of final-unseen", lead, [body])


def provenance(sources: Sources) -> Section:
    parts = []
    if sources.block("teachers"):
        parts += [heading("How the figures were made"), target("operating-points"), _teachers(sources), _grid(sources)]
    if sources.hashes:
        parts += [heading("Hashes of what went in"), _hashes(sources.hashes)]
    if sources.config_text:
        parts.append(details("campaign.yaml, resolved, without paths", made.verbatim(sources.config_text)))
    lead = "Teachers and their thresholds, hashes of what went in, and the resolved config."
    return Section("Where this comes from", lead, parts)


def _teachers(sources: Sources) -> Html:
    rows = []
    for step, one in sources.block("teachers").items():
        figures = [share(one.get("threshold")), share(one.get("temperature"), 2)]
        rows.append([left(step), *figures, left(one.get("source") or "–")])
    head = [*head_row(["teacher"], ["threshold", "temperature"]), left("chosen by")]
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
    unit, last = sources.block("unit"), sources.steps[-1]
    missing = sum(one.get("unanswered", {}).get(last, 0) for one in sources.block("slides").values())
    if missing:
        said.append(f"{pixels(missing)} without an answer of {last}, which count nowhere")
    return note(f"Unit: {unit or '–'}. {', '.join(said)}")


def _hashes(hashes: dict[str, str]) -> Html:
    rows = [[left(what), Cell(made.code(digest), "hash")] for what, digest in hashes.items()]
    return table([head_row(["what", "sha256"], [])], rows, "", "Hashes")
