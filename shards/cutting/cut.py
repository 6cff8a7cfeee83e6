"""One slide -> its tars `SLUG-HASH8-NNN.tar` and its overview. A pure function of the unit."""

from collections.abc import Iterator
from itertools import groupby

import cv2
import numpy as np

from mlseg_core.exactly_once.run import Scratch, Unit
from shards.annotation import EXCLUDED_PX, UNLABELLED, Annotation, Frame, read_annotation
from shards.audit.inspect import BadSlide, check_unreadable, inspect_annotated
from shards.config import ShardsConfig
from shards.cutting.identity import slide_identity
from shards.cutting.overview import write_overview
from shards.excluded import excluded_facts
from shards.plane import BLOCK_PX, Plane
from shards.pyramids import Unreadable
from shards.reader import SlideReader, open_slide
from shards.sample import Pair, encode_pair, make_key, position_digits
from shards.sampling import Seed, choose_seeds
from shards.slide_table import Slide
from shards.tar import write_shard
from shards.time_limit import time_limit

# Memory of a worker: these three, the interpreter and its libraries. See `_stripe_px`.
_TILE_BYTES = 256 << 20  # decoded tiles of the slide
_HIGH_BYTES = 192 << 20
_LOW_BYTES = 96 << 20
_NARROWEST_PX = 4096


def cut(unit: Unit, scratch: Scratch) -> None:
    """Cut one slide. Raises BadSlide, for one that takes too long too, and UserError."""
    hours = unit.payload[0].slide_hours
    what = f"it took longer than {hours:g} h to cut; if it is sound, set shards.slide_hours higher"
    with time_limit(hours * 3600, lambda: BadSlide(what), ends_process=True):
        _cut(unit, scratch)


def _cut(unit: Unit, scratch: Scratch) -> None:
    config, slide, parts = unit.payload
    _check_unchanged(slide, parts)
    name = f"{slide.slug}-{unit.inputs[:8]}"
    with open_slide(slide, config.high_mpp, _TILE_BYTES) as reader:
        annotation = (
            read_annotation(slide.annotation, config, Frame.of(reader, slide.origin)) if slide.annotation else None
        )
        audit = inspect_annotated(reader, annotation, config)
        sampling = choose_seeds(config, slide.slug, slide.split, reader.size, reader.mpp, annotation, audit.tissue)
        cutter = Cutter(config, slide, reader, annotation)
        if audit.quarantined(config.audit) is None:
            for number, part in enumerate(_parts(sampling.seeds, _stripe_px(config, reader), config.samples_per_shard)):
                write_shard(scratch.open(f"{name}-{number:03d}.tar"), cutter.samples(part, scratch))
        cutter.check(len(sampling.seeds))
        write_overview(scratch, name, config, slide, reader, annotation, audit, sampling, cutter.unreadable)
    _check_unchanged(slide, parts)


def _check_unchanged(slide: Slide, parts: dict[str, str]) -> None:
    try:
        same = slide_identity(slide.slide, parts["slide"]) == parts["slide"]
    except OSError as error:
        raise BadSlide(f"the slide cannot be read ({error.strerror}): check the file and its rights") from None
    if not same:
        raise BadSlide("the slide file was replaced or is still being copied: it changed since the build was planned")


def _stripe_px(config: ShardsConfig, reader: SlideReader) -> int:
    """Width of the stripes in which a slide is cut, high px, a function of the config and the slide file only.

    Rows of a stripe follow each other; a stripe is so narrow that what the next row needs again, decoded tiles and
    computed blocks, is still in memory. Most slides are one or two stripes wide.
    """
    step = config.high_mpp / reader.mpp[0]
    by_planes = _HIGH_BYTES * 7 // 8 // (3 * (config.store_px + 2 * BLOCK_PX)) - config.store_px
    by_tiles = int(_TILE_BYTES / (4 * (2 * reader.tile_height + BLOCK_PX * step)) / step) - config.store_px
    return max(_NARROWEST_PX, min(by_planes, by_tiles))


def _parts(seeds: list[Seed], stripe_px: int, most: int) -> Iterator[list[Seed]]:
    """Seeds of one tar each: of one stripe, row by row, at most `most`."""
    by_stripe = sorted(seeds, key=lambda seed: (seed.column // stripe_px, seed.row, seed.column))
    for _, stripe in groupby(by_stripe, key=lambda seed: seed.column // stripe_px):
        ordered = list(stripe)
        for first in range(0, len(ordered), most):
            yield ordered[first : first + most]


class Cutter:
    """Cuts pairs from a slide's two planes. unreadable: patches left out because their pixels cannot be decoded."""

    def __init__(self, config: ShardsConfig, slide: Slide, reader: SlideReader, annotation: Annotation | None) -> None:
        self._config, self._slide, self._reader = config, slide, reader
        self._high = Plane(reader, annotation, config.high_mpp, _HIGH_BYTES)
        self._low = Plane(reader, annotation, config.low_mpp, _LOW_BYTES)
        self._digits = position_digits(reader.size)
        self.unreadable = 0
        self._last_error = ""

    def samples(self, seeds: list[Seed], scratch: Scratch) -> Iterator[tuple[str, dict[str, bytes]]]:
        """KEY and members of each patch."""
        for seed in seeds:
            try:
                pair = self.pair(seed)
            except Unreadable as error:
                self.unreadable += 1
                self._last_error = str(error)
                continue
            yield pair.key, encode_pair(pair, self._config.jpeg_quality)
            scratch.advance(1)

    def pair(self, seed: Seed) -> Pair:
        """Both views with labels, centred on the seed. Raises Unreadable."""
        config = self._config
        side, ratio = config.store_px, config.ratio
        high = (seed.column - side // 2, seed.row - side // 2, side)
        low = (seed.column // ratio - side // 2, seed.row // ratio - side // 2, side)
        high_label, low_label = self._high.label(*high), self._low.label(*low)
        step = [config.high_mpp / mpp for mpp in self._reader.mpp]
        center = (seed.column * step[0], seed.row * step[1])
        return Pair(
            key=make_key(self._slide.slug, center, self._digits),
            high=self._high.image(*high),
            low=self._low.image(*low),
            high_label=high_label,
            low_label=low_label,
            info=self._info(center, high_label) | excluded_facts(high_label, low_label),
        )

    def _info(self, center: tuple[float, float], high_label: np.ndarray) -> dict[str, object]:
        config, slide, names = self._config, self._slide, self._config.fine_classes
        middle = int(high_label[config.store_px // 2, config.store_px // 2])
        counts = cv2.calcHist([high_label], [0], None, [256], [0, 256]).ravel()
        return {
            "version": 1,
            "slide": slide.slide.name,
            "slug": slide.slug,
            "patient": slide.patient,
            "stain": slide.stain,
            "scanner": slide.scanner,
            "source": slide.source,
            "split": slide.split,
            "score": slide.score,
            "center": [round(value, 3) for value in center],
            "mpp0": [round(value, 6) for value in self._reader.mpp],
            "high_mpp": config.high_mpp,
            "low_mpp": config.low_mpp,
            "seed_class": None if middle in (UNLABELLED, EXCLUDED_PX) else names[middle],
            "pixels": {name: int(counts[number]) for number, name in enumerate(names) if counts[number]},
        }

    def check(self, seeds: int) -> None:
        """Raises BadSlide when too much of the slide cannot be decoded."""
        check_unreadable(self.unreadable, seeds, self._last_error)
