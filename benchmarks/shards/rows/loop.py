"""A plain OpenSlide + Pillow loop into a folder of files: what people write first. No labels.

Both views of every patch: read, resize, save.
"""

from typing import Any

import openslide
from PIL import Image

from benchmarks.shards.rows.row import Row, finer_level


def loop(row: Row, extension: str, **options: Any) -> dict[str, float]:
    """options: of Pillow's save."""
    side, pairs = row.job["store_px"], 0
    for slide, centers in row.tiles():
        with openslide.OpenSlide(slide["path"]) as opened:
            for x, y in centers:
                for view, mpp in row.job["views"].items():
                    step = mpp / slide["mpp"][0]
                    level = finer_level(opened, step)
                    size = round(side * step / opened.level_downsamples[level])
                    corner = (round(x - side * step / 2), round(y - side * step / 2))
                    rgb = opened.read_region(corner, level, (size, size)).convert("RGB")
                    if size != side:
                        rgb = rgb.resize((side, side), Image.Resampling.BOX)
                    rgb.save(row.out / f"{slide['slug']}_{round(y)}_{round(x)}_{view}.{extension}", **options)
                pairs += 1
    return {"pairs": pairs}
