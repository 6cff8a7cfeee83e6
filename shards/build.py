"""Slides -> shards: a map over slides, one set of tars per slide, then the corpus manifest.

A slide's tars depend on its file, its annotation, its row and the config, on nothing else: the same inputs give the
same sha256 on any number of workers.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, sha256_file, write_atomic
from mlseg_core.map import Scratch, Unit, merge
from shards.annotation import UNLABELLED, Region, rasterise, read_geojson
from shards.config import ShardsConfig
from shards.manifest import Manifest, ShardEntry, SlideEntry, totals, write_manifest_file
from shards.reader import SlideReader
from shards.sample import MEMBERS, Pair, decode_label, encode_pair, make_key
from shards.sampling import Seed, choose_seeds
from shards.slide_table import Slide, read_slide_table
from shards.tar import (
    NO_SEED,
    ShardReader,
    index_shard,
    publish_index,
    wds2idx_text,
    write_shard,
)
from shards.tissue import find_tissue

RECIPE = 3  # raise it when the same inputs give other bytes


def check_slides(config: ShardsConfig, slides_csv: Path) -> list[Slide]:
    """Everything a user can get wrong in the table, found before any work. Raises UserError."""
    slides = read_slide_table(slides_csv)
    for slide in slides:
        SlideReader(slide.slide, slide.mpp).__exit__(None, None, None)
        if slide.annotation is not None:
            read_geojson(slide.annotation, config)
        elif slide.split != "train":
            raise UserError(
                f"slide of split {slide.split} has no annotation", f"{slides_csv}: {slide.slide.name}", "Annotate it."
            )
    if not any(slide.split == "train" for slide in slides):
        raise UserError("no slide of split train", slides_csv, "Mark the slides to learn from as train.")
    return slides


def units(config: ShardsConfig, slides_csv: Path) -> list[Unit]:
    """One unit a slide. Raises UserError."""
    return [_unit(config, slide) for slide in check_slides(config, slides_csv)]


def _unit(config: ShardsConfig, slide: Slide) -> Unit:
    row = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(slide).items()}
    inputs = {
        "recipe": RECIPE,
        "config": config.model_dump(mode="json"),
        "row": {key: value for key, value in row.items() if key not in ("slide", "annotation")},
        "name": slide.slug,
        "slide": _head_and_tail(slide.slide),
        "annotation": sha256_file(slide.annotation) if slide.annotation else None,
    }
    return Unit(slide.slug, fingerprint(inputs), (config, slide))


def _head_and_tail(path: Path, window: int = 1 << 20) -> str:
    """Identity of a large file without reading all of it: its size, first and last MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        digest.update(file.read(window))
        file.seek(max(0, size - window))
        digest.update(file.read(window))
    return digest.hexdigest()


def cut(unit: Unit, scratch: Scratch) -> None:
    """Cut one slide into `SLUG-HASH-NNN.tar`."""
    config, slide = unit.payload
    regions = read_geojson(slide.annotation, config) if slide.annotation else []
    with SlideReader(slide.slide, slide.mpp) as reader:
        tissue = find_tissue(reader)
        seeds = choose_seeds(config, slide.slug, slide.split, reader.size, reader.mpp, regions, tissue)
        for number in range(0, max(1, -(-len(seeds) // config.samples_per_shard))):
            part = seeds[number * config.samples_per_shard : (number + 1) * config.samples_per_shard]
            path = scratch.file(f"{slide.slug}-{unit.inputs[:8]}-{number:03d}.tar")
            write_shard(path, _samples(config, slide, reader, regions, part))


def _samples(
    config: ShardsConfig, slide: Slide, reader: SlideReader, regions: list[Region], seeds: list[Seed]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    for seed in seeds:
        pair = cut_pair(config, slide, reader, regions, seed)
        yield pair.key, encode_pair(pair, config.jpeg_quality)


def cut_pair(config: ShardsConfig, slide: Slide, reader: SlideReader, regions: list[Region], seed: Seed) -> Pair:
    """Both views with labels, centred on the seed."""
    center = (seed.x, seed.y)
    views: dict[str, np.ndarray] = {}
    for view, mpp in (("high", config.high_mpp), ("low", config.low_mpp)):
        image, inside = reader.read(center, mpp, config.store_px)
        step = (mpp / reader.mpp[0], mpp / reader.mpp[1])
        label = rasterise(regions, center, step, (config.store_px, config.store_px))
        label[~inside] = UNLABELLED
        views |= {view: image, f"{view}_label": label}
    info = {
        "version": 1,
        "slide": slide.slide.name,
        "slug": slide.slug,
        "patient": slide.patient,
        "stain": slide.stain,
        "scanner": slide.scanner,
        "source": slide.source,
        "split": slide.split,
        "score": slide.score,
        "center": [round(seed.x, 3), round(seed.y, 3)],
        "mpp0": [round(value, 6) for value in reader.mpp],
        "high_mpp": config.high_mpp,
        "low_mpp": config.low_mpp,
        "seed_class": None if seed.fine == UNLABELLED else config.fine_classes[seed.fine],
    }
    return Pair(make_key(slide.slug, center), info=info, **views)


def describe(unit: Unit, files: dict[str, Path]) -> dict[str, Any]:
    """Index the published tars (writes X.index.npy and X.idx) and count: facts per shard for the manifest."""
    config, _ = unit.payload
    return {name: _index_and_count(config, path) for name, path in files.items()}


def _index_and_count(config: ShardsConfig, path: Path) -> dict[str, Any]:
    index = index_shard(path, MEMBERS)
    ids = {name: number for number, name in enumerate(config.fine_classes)}
    pixels = np.zeros(256, np.int64)
    with ShardReader(path, MEMBERS, index) as shard:
        for position in range(len(index)):
            seed_class = json.loads(shard.read_member(position, MEMBERS.index("json")))["seed_class"]
            index[position]["seed"] = NO_SEED if seed_class is None else ids[seed_class]
            label = decode_label(shard.read_member(position, MEMBERS.index("high.png")))
            pixels += np.bincount(label.ravel(), minlength=256)
    write_atomic(path.with_suffix(".idx"), wds2idx_text(index, MEMBERS))
    seeds = np.bincount(index["seed"], minlength=256)
    return {
        "samples": len(index),
        "index_sha256": publish_index(path, index),
        "seeds": {name: int(seeds[i]) for i, name in enumerate(config.fine_classes) if seeds[i]},
        "pixels": {name: int(pixels[i]) for i, name in enumerate(config.fine_classes) if pixels[i]},
    }


def write_manifest(config: ShardsConfig, slides_csv: Path, folder: Path) -> Path:
    """Prove that every slide is done, then publish `folder/manifest.json`. Raises map.Incomplete."""
    todo = units(config, slides_csv)
    entries, slides = [], []
    for unit, done in zip(todo, merge(todo, folder), strict=True):
        slide: Slide = unit.payload[1]
        slides.append(
            SlideEntry(
                slug=slide.slug,
                slide=slide.slide.name,
                patient=slide.patient,
                stain=slide.stain,
                scanner=slide.scanner,
                source=slide.source,
                split=slide.split,
                score=slide.score,
            )
        )
        entries += [
            ShardEntry(name=name, slide=slide.slug, split=slide.split, **file, **done.facts[name])
            for name, file in done.files.items()
        ]
    manifest = Manifest(
        kind="corpus",
        fingerprint=fingerprint([unit.inputs for unit in todo]),
        members=MEMBERS,
        classes=config.fine_classes,
        views={"high_mpp": config.high_mpp, "low_mpp": config.low_mpp, "store_px": config.store_px},
        shards=tuple(entries),
        slides=tuple(slides),
        totals=totals(entries),
        parents={"slides": sha256_file(slides_csv)},
    )
    path = folder / "manifest.json"
    write_manifest_file(path, manifest)
    return path
