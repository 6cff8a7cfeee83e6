"""A corpus of pairs cut from a photograph of stained tissue (skimage's immunohistochemistry()), in shards as a build writes them.

The photograph is mirrored into a plane, each view is a part of it somewhere, turned and magnified; labels follow its
brightness, a third each, a margin is unlabelled. The two views of a pair show different places: nothing here looks at both.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from benchmarks.common.bare_corpus import train_slide
from benchmarks.common.processes import ROOT
from mlseg_core.config import read_yaml
from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file, write_atomic
from mlseg_dist.config import IGNORED
from shards.manifest import Manifest, ShardEntry, pack_seeds, publish_seeds, totals, write_manifest_file
from shards.sample import MEMBERS, Pair, encode_pair, make_key
from shards.tar import ShardReader, wds2idx_text, write_shard

CLASSES = ("stroma", "tumour", "duct")
VIEWS = {"high_mpp": 0.5, "low_mpp": 2.0}
_ZOOM = 1.75
"""Tissue at 0.5 µm/px is smoother than the photograph: unmagnified, a pair would take three times the bytes of a real one."""
_SMOOTH_PX = 6
_MARGIN = 16  # a part of the side that is unlabelled


def write_corpus(folder: Path, pairs: int, shards: int, store_px: int, quality: int = 95) -> Path:
    """Tars, their indices as wds2idx text, seeds, manifest. Each shard is a slide of its own, all of the train split."""
    folder.mkdir(parents=True)
    plane, classes = _plane()
    random = np.random.default_rng(0)
    slides, entries, packed = [], [], {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for number in range(shards):
            slug = f"s{number:03d}"
            own = [(row, int(random.integers(2**31))) for row in range(number, pairs, shards)]
            made = list(pool.map(lambda job, slug=slug: _pair(plane, classes, slug, *job, store_px), own))
            seeds = np.array([pair.high_label[store_px // 2, store_px // 2] for pair in made], np.uint8)
            path = folder / f"{slug}-00000000-000.tar"
            members = pool.map(lambda pair: encode_pair(pair, quality), made)
            write_shard(path, zip((pair.key for pair in made), members, strict=True))
            slides.append(train_slide(slug, number))
            entries.append(_publish(path, slug))
            packed[path.name] = pack_seeds(seeds)
    manifest = Manifest(
        kind="corpus",
        fingerprint="0" * 64,
        members=MEMBERS,
        classes=CLASSES,
        views={**VIEWS, "store_px": store_px},
        shards=tuple(entries),
        slides=tuple(slides),
        totals=totals(entries),
        facts={"seeds": publish_seeds(folder, entries, packed)},
    )
    write_manifest_file(folder, manifest)
    return folder


def training_classes(manifest: Manifest) -> dict[str, int]:
    """Fine class -> 0, 1, 2 or 255, as configs/classes/breast.yaml has it. Raises UserError for a class it does not know."""
    path = ROOT / "configs/classes/breast.yaml"
    known: dict[str, int] = read_yaml(path)["training_classes"]
    unknown = [name for name in manifest.classes if name not in known]
    if unknown:
        raise UserError(
            f"knows no class {', '.join(unknown)} of the shards", path, "Take shards built with its classes."
        )
    return known


def _plane() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (H, W, 3) RGB without seams, and its classes uint8 (H, W)."""
    tissue = skimage.data.immunohistochemistry()
    height, width = tissue.shape[:2]
    plane = np.pad(tissue, ((0, height), (0, width), (0, 0)), mode="symmetric")
    smooth = cv2.GaussianBlur(plane.mean(-1).astype(np.float32), (0, 0), _SMOOTH_PX)
    return plane, np.digitize(smooth, np.quantile(smooth, [1 / 3, 2 / 3])).astype(np.uint8)


def _pair(plane: np.ndarray, classes: np.ndarray, slug: str, row: int, seed: int, store_px: int) -> Pair:
    random = np.random.default_rng(seed)
    high, low = (_cut(plane, classes, random, store_px) for _ in range(2))
    key = make_key(slug, (0, row * store_px))  # side by side
    mpp = VIEWS["high_mpp"]
    return Pair(key, high[0], low[0], high[1], low[1], {"key": key, "mpp0": [mpp, mpp]})


def _cut(
    plane: np.ndarray, classes: np.ndarray, random: np.random.Generator, store_px: int
) -> tuple[np.ndarray, np.ndarray]:
    side = round(store_px / _ZOOM)
    y, x = (int(random.integers(length - side)) for length in plane.shape[:2])
    turns, part = int(random.integers(4)), np.s_[y : y + side, x : x + side]
    images = [np.ascontiguousarray(np.rot90(source[part], turns)) for source in (plane, classes)]
    image, label = (
        cv2.resize(source, (store_px, store_px), interpolation=kind)
        for source, kind in zip(images, (cv2.INTER_CUBIC, cv2.INTER_NEAREST), strict=True)
    )
    label[: store_px // _MARGIN] = IGNORED
    return image, label


def _publish(path: Path, slug: str) -> ShardEntry:
    """Write a tar's index as text too."""
    with ShardReader(path, MEMBERS) as shard:
        write_atomic(path.with_suffix(".idx"), wds2idx_text(shard.index, MEMBERS))
        return ShardEntry(
            name=path.name,
            bytes=path.stat().st_size,
            sha256=sha256_file(path),
            index_sha256=shard.index_sha256,
            samples=len(shard),
            slide=slug,
            split="train",
        )
