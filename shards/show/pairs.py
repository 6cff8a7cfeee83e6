"""Sample pairs for people: a choice spread over classes, splits, stains and scanners, and their pictures."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mlseg_core.files import fingerprint
from mlseg_core.html import Html, data_uri
from shards.annotation import EXCLUDED_PX, UNLABELLED
from shards.manifest import ShardEntry, SlideEntry, kept_seeds
from shards.sample import decode_label, decode_rgb, encode_jpeg
from shards.show.colours import rgb
from shards.show.parts import made
from shards.show.sources import Corpus
from shards.tar import NO_SEED, BadShard, ShardReader

MOST_PAIRS = 24
_SIDE_PX = 260
_JPEG_QUALITY = 85
_STRENGTH = 0.45
_EXCLUDED = (70, 70, 70)
_UNANNOTATED = "unannotated tissue"


@dataclass(frozen=True)
class Sample:
    """Views uint8 (S, S, 3) RGB and labels uint8 (S, S) of one pair; name: class at its seed."""

    key: str
    name: str
    slide: SlideEntry
    info: dict[str, Any]
    high: np.ndarray
    low: np.ndarray
    high_label: np.ndarray
    low_label: np.ndarray


def choose(corpus: Corpus) -> Iterator[tuple[ShardEntry, str]]:
    """A shard and a class a sample: classes in turn, the rare ones too; within a class what was seen least. No chance in it."""
    slides = {slide.slug: slide for slide in corpus.manifest.slides}
    of_class: dict[str, list[ShardEntry]] = {}
    for shard in sorted(corpus.manifest.shards, key=lambda shard: fingerprint([shard.name])):
        if shard.slide in slides:
            for name in shard.seeds:
                of_class.setdefault(name, []).append(shard)
            if shard.samples > sum(shard.seeds.values()):
                of_class.setdefault(_UNANNOTATED, []).append(shard)
    order = [name for name in (*corpus.manifest.classes, _UNANNOTATED) if name in of_class]
    if len(order) > MOST_PAIRS:  # more classes than pictures: the frequent ones
        totals = {name: sum(shard.seeds.get(name, shard.samples) for shard in of_class[name]) for name in order}
        order = sorted(order, key=lambda name: -totals[name])[:MOST_PAIRS]
    seen: Counter[tuple[str, ...]] = Counter()
    turns = [order[number % len(order)] for number in range(MOST_PAIRS)] if order else []
    for name in sorted(turns, key=order.index):
        facts = {shard.name: _facts(slides[shard.slide], shard, name) for shard in of_class[name]}
        shard = min(of_class[name], key=lambda shard: [seen[fact] for fact in facts[shard.name]])
        seen.update(facts[shard.name])
        yield shard, name


def _facts(slide: SlideEntry, shard: ShardEntry, name: str) -> list[tuple[str, ...]]:
    """What should not be seen again so soon, the most important first."""
    return [
        (name, "slide", slide.slug),
        (name, "stain", slide.stain),
        (name, "scanner", slide.scanner),
        ("slide", slide.slug),
        ("stain", slide.stain),
        ("scanner", slide.scanner),
        ("source", slide.source),
        ("split", slide.split),
    ]


def load(corpus: Corpus) -> tuple[list[Sample], int]:
    """The chosen samples, each once, and how many could not be read. Raises UserError without the seeds."""
    samples, taken, unreadable = [], set(), 0
    slides = {slide.slug: slide for slide in corpus.manifest.slides}
    seeds = kept_seeds(corpus.folder)
    for shard, name in choose(corpus):
        try:
            with ShardReader(corpus.folder / shard.name, corpus.manifest.members) as reader:
                wanted = NO_SEED if name == _UNANNOTATED else corpus.manifest.classes.index(name)
                rows = np.nonzero(seeds[shard.name] == wanted)[0].tolist()
                rows.sort(key=lambda row: fingerprint([reader.key(row)]))
                row = next((row for row in rows if reader.key(row) not in taken), None)
                if row is not None:
                    taken.add(reader.key(row))
                    samples.append(_sample(reader.key(row), name, slides[shard.slide], reader.read(row)))
        except (BadShard, ValueError, OSError):
            unreadable += 1
    return samples, unreadable


def _sample(key: str, name: str, slide: SlideEntry, members: dict[str, bytes]) -> Sample:
    return Sample(
        key,
        name,
        slide,
        json.loads(members["json"]),
        decode_rgb(members["high.jpg"]),
        decode_rgb(members["low.jpg"]),
        decode_label(members["high.png"]),
        decode_label(members["low.png"]),
    )


def figure(corpus: Corpus, sample: Sample, colours: dict[str, str]) -> Html:
    """High and low side by side, under them the same with their labels; the high field is framed in the low view."""
    table = np.full((256, 3), 255, np.float32)
    table[EXCLUDED_PX] = _EXCLUDED
    for number, name in enumerate(corpus.manifest.classes):
        table[number] = rgb(colours[name])
    share = corpus.manifest.views["high_mpp"] / corpus.manifest.views["low_mpp"]
    pictures = []
    for image, label in ((sample.high, sample.high_label), (sample.low, sample.low_label)):
        small = _resized(image)
        labels = cv2.resize(label, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        pictures.append((small, _covered(small, labels, table)))
    framed = [pictures[0], tuple(_framed(picture, share) for picture in pictures[1])]
    shown = [
        (data_uri(encode_jpeg(framed[view][layer], _JPEG_QUALITY), "jpeg"), f"{name} view of {sample.key}")
        for layer in (0, 1)
        for view, name in enumerate(("high", "low"))
    ]
    slide = sample.slide
    said = " · ".join(part for part in (slide.split, slide.stain, slide.scanner, slide.source) if part)
    colour = colours.get(sample.name, "var(--line)")
    return made.pair(sample.name, colour, said, sample.key, shown)


def _resized(image: np.ndarray) -> np.ndarray:
    if image.shape[0] <= _SIDE_PX:
        return image
    return cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)


def _covered(image: np.ndarray, label: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Class colours over tissue, borders in full colour; unlabelled pixels are paled."""
    strength = np.where(label == UNLABELLED, 0.7, _STRENGTH)[..., None]
    out = (1 - strength) * image + strength * table[label]
    edge = (cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0) & (label != UNLABELLED)
    out[edge] = table[label[edge]]
    return out.round().astype(np.uint8)


def _framed(image: np.ndarray, share: float) -> np.ndarray:
    """A dark frame with a bright core around the centre's `share` of each side."""
    out, side = np.ascontiguousarray(image), len(image)
    first, last = round(side * (1 - share) / 2), round(side * (1 + share) / 2)
    cv2.rectangle(out, (first, first), (last, last), (255, 255, 255), 3)
    cv2.rectangle(out, (first, first), (last, last), (20, 20, 20), 1)
    return out
