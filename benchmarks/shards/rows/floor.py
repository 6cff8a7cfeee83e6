"""The floor: every slide tile that the patches touch decoded once, every output encoded once. Nothing else is timed.

The tiles go through the same decoder as ours, one by one. The outputs are the very files that ours writes; their
pixels are cut outside of the clock and encoded while still warm in the cache, which favours the floor. Beside it, not
in it: what it takes to write these bytes to one file, and sync it.
"""

import os
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import openslide

from benchmarks.shards.rows.job import load
from benchmarks.shards.rows.row import Row, finer_level, run
from shards.annotation import Frame, read_annotation
from shards.config import ShardsConfig
from shards.cutting.cut import Cutter
from shards.pyramids import open_pyramid
from shards.reader import open_slide
from shards.sample import Pair, encode_pair
from shards.sampling import Seed
from shards.slide_table import Slide, read_slide_table

_TILE_CACHE_BYTES = 256 << 20  # of the untimed cutting


class Clock:
    """Adds up what passes inside of its `with` blocks."""

    def __init__(self) -> None:
        self.seconds = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._start[0]
        self.cpu_s += time.process_time() - self._start[1]


def work(row: Row) -> dict[str, float]:
    """Also: decode_s and write_s, the seconds of each."""
    config, table = load(row.job)
    rows = {slide.slug: slide for slide in read_slide_table(table)}
    decoding, encoding, writing, pairs = Clock(), Clock(), Clock(), 0
    with open(row.out / f"floor-{row.worker}", "wb") as file:
        for entry, centers in row.tiles():
            _decode_once(row.job, entry, centers, decoding)
            for pair in _cut(config, rows[entry["slug"]], centers):
                with encoding:
                    members = encode_pair(pair, config.jpeg_quality)
                with writing:
                    file.writelines(members.values())
            pairs += len(centers)
        with writing:
            os.fsync(file.fileno())
    measured = {"decode_s": decoding.seconds, "write_s": writing.seconds, "write_cpu_s": writing.cpu_s}
    seconds, cpu_s = decoding.seconds + encoding.seconds, decoding.cpu_s + encoding.cpu_s
    return {"pairs": pairs, "seconds": seconds, "cpu_s": cpu_s, **measured}


def _cut(config: ShardsConfig, slide: Slide, centers: list[list[float]]) -> Iterator[Pair]:
    with open_slide(slide, config.high_mpp, _TILE_CACHE_BYTES) as reader:
        annotation = (
            read_annotation(slide.annotation, config, Frame.of(reader, slide.origin)) if slide.annotation else None
        )
        cutter = Cutter(config, slide, reader, annotation)
        for center in centers:
            column, line = (round(value * mpp / config.high_mpp) for value, mpp in zip(center, reader.mpp, strict=True))
            yield cutter.pair(Seed(column, line, 0))


def _decode_once(job: dict[str, Any], entry: dict[str, Any], centers: list[list[float]], clock: Clock) -> None:
    """Read each tile that a view touches, of the level that the view is made from."""
    with openslide.OpenSlide(entry["path"]) as slide:
        levels = {view: finer_level(slide, mpp / entry["mpp"][0]) for view, mpp in job["views"].items()}
        names = [[f"openslide.level[{level}].tile-{side}" for side in ("width", "height")] for level in levels.values()]
        tiles = [[int(slide.properties.get(name, 256)) for name in pair] for pair in names]
        scales = [slide.level_downsamples[level] for level in levels.values()]
    pyramid = open_pyramid(Path(entry["path"]), 0)
    for mpp, level, tile, scale in zip(job["views"].values(), levels.values(), tiles, scales, strict=True):
        size = pyramid.sizes[level]
        touched: set[tuple[int, ...]] = set()
        for center in centers:
            spans = []
            for value, mpp0, side, length in zip(center, entry["mpp"], tile, size, strict=True):
                half = job["store_px"] * mpp / mpp0 / 2
                first, last = max(0.0, (value - half) / scale), min(float(length), (value + half) / scale)
                spans.append(range(int(first // side), int(-(-last // side))))
            touched.update(product(*spans))
        with clock:
            for column, line in sorted(touched, key=lambda place: (place[1], place[0])):
                first = (column * tile[0], line * tile[1])
                pyramid.read(level, first, (min(tile[0], size[0] - first[0]), min(tile[1], size[1] - first[1])))
    pyramid.close()


if __name__ == "__main__":
    run(work)
