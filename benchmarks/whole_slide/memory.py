"""Peak memory and time of the engine on large slides, with a network that costs nothing: what is left is the engine itself.

Each slide is a tiled JPEG pyramid written for it; each pass is a process of its own, which reads it, stitches and writes both maps.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

GOAL_MIB = 2048
_TILE = 512
_MPP = 0.5


def page(options: argparse.Namespace) -> tuple[str, list[str]]:
    lines = [
        f"All of a slide of JPEG tiles of {_TILE} px at {_MPP} µm/px, views of {options.patch} px (low ones at "
        f"{4 * _MPP} µm/px), overlap 0.25, batches of 8, a network that answers at once; classes and probabilities are written.",
        "",
        "| slide, px | cells of the maps | patches | s | slide Mpx/s | peak memory, MiB | before the slide | maps on disk, MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for side in options.side:
        with tempfile.TemporaryDirectory(prefix="mlseg-large-") as name:
            slide = Path(name) / "slide.tif"
            write_slide(slide, side)
            job = json.dumps([str(slide), name, options.patch, options.cell])
            done = subprocess.run([sys.executable, "-m", __name__, job], check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
        print(side, found, file=sys.stderr, flush=True)
        lines.append(
            f"| {side:,}² | {found['rows']:,}² | {found['patches']:,} | {found['s']:.0f} | {side**2 / found['s'] / 1e6:.0f} | "
            f"{found['peak']:,} | {found['before']:,} | {found['mb']:,.0f} |"
        )
    lines += ["", f"Goal: at most {GOAL_MIB:,} MiB at 20,000² px."]
    return "Memory and time of the engine on large slides", lines


def write_slide(path: Path, side: int) -> None:
    """A pyramid whose tiles, some of glass and some of tissue, are encoded once and written many times."""
    random = np.random.default_rng(0)
    glass = np.full((_TILE, _TILE, 3), 240, np.uint8)
    noise = random.integers(60, 220, (_TILE // 8, _TILE // 8, 3)).astype(np.uint8)
    kinds = [
        glass,
        *(cv2.resize(np.roll(noise, k, 0), (_TILE, _TILE), interpolation=cv2.INTER_CUBIC) for k in range(4)),
    ]
    encoded = [
        cv2.imencode(
            ".jpg", tile[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
        )[1]
        for tile in kinds
    ]

    def tiles(across: int, down: int) -> Iterator[bytes]:
        for row in range(down):
            for column in range(across):
                border = min(row, column, down - 1 - row, across - 1 - column) * 8 < across
                yield encoded[0 if border else 1 + (row * 7 + column * 3) % 4].tobytes()

    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        level = 0
        while level == 0 or side > 2 * _TILE:
            count = -(-side // _TILE)
            tiff.write(
                tiles(count, count),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(_TILE, _TILE),
                photometric="ycbcr",
                subsampling=(1, 1),
                compression="jpeg",
                subfiletype=int(level > 0),
                resolution=(1e4 / (_MPP * 4**level), 1e4 / (_MPP * 4**level)),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            side, level = side // 4, level + 1


def main(slide: str, folder: str, patch: int, cell: int) -> None:
    """One pass; prints what it took."""
    import torch

    from mlseg_dist.whole_slide.grid import make_grid
    from mlseg_dist.whole_slide.network import SlideNetwork
    from mlseg_dist.whole_slide.reading import SlideViews
    from mlseg_dist.whole_slide.regions import Everywhere
    from mlseg_dist.whole_slide.strips import WholeSlide
    from mlseg_dist.whole_slide.writing import write_maps
    from shards.reader import SlideReader

    coarse = torch.rand((8, 3, patch // 64, patch // 64), generator=torch.Generator().manual_seed(0))
    answer = torch.softmax(torch.nn.functional.interpolate(coarse * 5, size=(patch, patch), mode="bilinear"), dim=1)
    network = SlideNetwork(lambda high, low: answer, torch.device("cpu"))
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.perf_counter()
    with SlideReader(Path(slide)) as reader:
        views = {"high_mpp": _MPP, "low_mpp": 4 * _MPP}
        grid = make_grid(reader.size, reader.mpp, views, patch_px=patch, overlap=0.25, cell_px=cell)
        with SlideViews(reader, views["high_mpp"], views["low_mpp"], threads=2) as planes:
            whole = WholeSlide(planes, network, grid, Everywhere(grid), batch=8, threads=2)
            maps = [Path(folder) / name for name in ("classes.tif", "probabilities.tif")]
            write_maps(whole.strips(), grid, 0.4, maps[0], maps[1])
    found = {
        "rows": grid.size[0],
        "patches": whole.facts.patches,
        "s": time.perf_counter() - begun,
        "before": before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "mb": sum(path.stat().st_size for path in maps) / 1e6,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
