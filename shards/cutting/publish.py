"""Cut slides -> facts of their tars, quarantine.csv, seeds and the corpus manifest, which is written last."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.csv_text import write_rows
from mlseg_core.exactly_once.records import missing_files, read_done, read_failed
from mlseg_core.exactly_once.run import Done, Failed, Incomplete, Scratch, Unit
from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.store import Store, open_store
from shards.config import ShardsConfig
from shards.cutting.identity import Known, file_state, read_known, slide_identity, slide_sha256, write_known
from shards.manifest import (
    Inside,
    Manifest,
    ShardEntry,
    SlideEntry,
    pack_seeds,
    publish_seeds,
    totals,
    write_manifest_file,
)
from shards.sample import MEMBERS
from shards.slide_table import Slide
from shards.tar import NO_SEED, ShardReader, wds2idx_text

QUARANTINE = "quarantine.csv"
QUARANTINE_HEAD = ("slide", "slug", "reason", "traceback")


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """Count what the published tars hold, for the manifest; write their indices as text too (X.idx)."""
    config, slide, parts = unit.payload
    overview = next(name for name in files if name.endswith(".json"))
    hashed = {"slide_file": _hashed(slide, parts["slide"]).as_json()} if config.hash_slides else {}
    seen = json.loads(files[overview].read_text())
    return {
        **hashed,
        "inputs": parts,
        "overview": overview,
        "quarantined": seen["quarantined"],
        **({"inside": seen["inside"]} if "inside" in seen else {}),  # an earlier version may have cut, and died before
        "shards": {
            name: _index_and_count(config, name, path, derived) for name, path in files.items() if name.endswith(".tar")
        },
    }


def _hashed(slide: Slide, identity: str) -> Known:
    """The slide as it was cut, with the hash of every byte. Raises RuntimeError when it changes meanwhile."""
    state, sha256 = file_state(slide.slide), slide_sha256(slide.slide)
    if file_state(slide.slide) != state or slide_identity(slide.slide, identity) != identity:
        raise RuntimeError("the slide file changed while it was hashed")
    return Known(state, identity, sha256, slide_identity(slide.slide))


def _index_and_count(config: ShardsConfig, name: str, path: Path, derived: Scratch) -> dict[str, Any]:
    ids = {fine: number for number, fine in enumerate(config.fine_classes)}
    pixels = np.zeros(len(ids), np.int64)
    with ShardReader(path, MEMBERS, derived.winners.get(name)) as shard:
        index = shard.index
        seeds = np.full(len(index), NO_SEED, np.uint8)
        for position in range(len(index)):
            info = json.loads(shard.read_member(position, MEMBERS.index("json")))
            if info["seed_class"] is not None:
                seeds[position] = ids[info["seed_class"]]
            for fine, count in info["pixels"].items():
                pixels[ids[fine]] += count
        index_sha256 = shard.index_sha256
    derived.file(str(Path(name).with_suffix(".idx"))).write_text(wds2idx_text(index, MEMBERS))
    counts = np.bincount(seeds, minlength=256)
    return {
        "samples": len(index),
        "index_sha256": index_sha256,
        "seeds": {fine: int(counts[i]) for fine, i in ids.items() if counts[i]},
        "pixels": {fine: int(pixels[i]) for fine, i in ids.items() if pixels[i]},
        "seed_of_each": pack_seeds(seeds),
    }


def write_manifest(
    config: ShardsConfig,
    slides_csv: Path,
    todo: list[Unit],
    out: Path | str,
    known: Mapping[str, Known] | None = None,
) -> Manifest:
    """Prove that every slide is cut or has failed, write quarantine.csv, the seeds, then manifest.json.

    known: slug -> the slide as it was planned, to be remembered for the next planning.

    Slides in quarantine give no samples. Raises map.Incomplete when a slide is neither, RuntimeError when more than
    `max_quarantined` of them are in quarantine: the manifest is not written then.
    """
    store = open_store(out)
    done, failed = _settle(store, todo)
    rows = _quarantined(todo, done, failed)
    store.write(QUARANTINE, _csv(rows))
    good = len(todo) - len(rows)
    if len(rows) > config.max_quarantined * len(todo) or not good:
        raise RuntimeError(
            f"{len(rows)} of {len(todo)} slides are bad, more than max_quarantined ({config.max_quarantined:g}): "
            f"see {QUARANTINE}; first: {rows[0][0]}: {rows[0][2]}"
        )
    entries: list[ShardEntry] = []
    packed: dict[str, str] = {}
    slides: list[SlideEntry] = []
    reasons = {row[1]: row[2] for row in rows}
    for unit in todo:
        slide: Slide = unit.payload[1]
        record = done.get(unit.name)
        slides.append(_slide_entry(slide, reasons.get(slide.slug, ""), record.facts if record else {}))
        if record:
            for name, facts in record.facts["shards"].items():
                packed[name] = facts["seed_of_each"]
                facts = {fact: value for fact, value in facts.items() if fact != "seed_of_each"}
                entries.append(
                    ShardEntry(name=name, slide=slide.slug, split=slide.split, **record.files[name], **facts)
                )
    manifest = Manifest(
        kind="corpus",
        fingerprint=fingerprint([unit.inputs for unit in todo if unit.name in done]),
        members=MEMBERS,
        classes=config.fine_classes,
        views={"high_mpp": config.high_mpp, "low_mpp": config.low_mpp, "store_px": config.store_px},
        shards=tuple(entries),
        slides=tuple(slides),
        totals=totals(entries),
        parents={"slides": sha256_file(slides_csv)},
        facts={"seeds": publish_seeds(store, entries, packed)},
    )
    write_manifest_file(store, manifest)
    hashed = {name: record.facts["slide_file"] for name, record in done.items() if "slide_file" in record.facts}
    _remember(store, known or {}, {name: Known.from_json(raw) for name, raw in hashed.items()})
    return manifest


def _remember(store: Store, planned: Mapping[str, Known], hashed: Mapping[str, Known]) -> None:
    """Keep what was learnt of the slides; a full hash stays while the slide's size and modification time do."""
    before = read_known(store)
    merged = {**before, **planned}
    for slug in merged:
        for other in (before.get(slug), hashed.get(slug)):
            if other is not None and other.sha256 and other.state == merged[slug].state:
                merged[slug] = replace(merged[slug], sha256=other.sha256)
    write_known(store, {**hashed, **merged})


def _settle(store: Store, todo: list[Unit]) -> tuple[dict[str, Done], dict[str, Failed]]:
    """Records of the slides that are cut and of those that failed, by slug. Raises Incomplete for any other."""
    found = {unit.name: read_done(store, unit) for unit in todo}
    done = {name: record for name, record in found.items() if record is not None}
    gone = missing_files(store, done.values())
    tried = {unit.name: read_failed(store, unit) for unit in todo if unit.name not in done}
    failed = {name: record for name, record in tried.items() if record is not None and record.is_final}
    missing = [unit.name for unit in todo if unit.name in gone or unit.name not in {**done, **failed}]
    if missing:
        raise Incomplete(missing, store.where)
    store.remove_temporaries(("", "overview", "done", "failed", "progress"))
    return done, failed


def _slide_entry(slide: Slide, quarantined: str, cut: Mapping[str, Any]) -> SlideEntry:
    """cut: facts of describe(); {} for a slide that failed."""
    named = ("slug", "patient", "stain", "scanner", "source", "split", "score")
    row = {name: getattr(slide, name) for name in named}
    inside = Inside.model_validate_json(json.dumps(cut["inside"])) if "inside" in cut else None
    return SlideEntry(
        slide=slide.slide.name, quarantined=quarantined, overview=cut.get("overview", ""), inside=inside, **row
    )


def _quarantined(todo: list[Unit], done: dict[str, Done], failed: dict[str, Failed]) -> list[tuple[str, str, str, str]]:
    """slide, slug, reason, traceback of each slide without samples that should have some."""
    rows = []
    for unit in todo:
        slide = unit.payload[1]
        if unit.name in failed:
            rows.append((str(slide.slide), slide.slug, failed[unit.name].reason, failed[unit.name].traceback))
        elif done[unit.name].facts["quarantined"]:
            rows.append((str(slide.slide), slide.slug, done[unit.name].facts["quarantined"], ""))
    return rows


def _csv(rows: list[tuple[str, str, str, str]]) -> bytes:
    return write_rows([QUARANTINE_HEAD, *rows]).encode()
