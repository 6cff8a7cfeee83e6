"""A pair of styles for people: patches of the source, the same styled with several latents, patches of the target.

In: a shards folder and a finished generator. Out: one JPEG, high views above low ones; under each styled patch its SSIM.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mlseg_core.files import write_atomic
from mlseg_core.randomness import generator
from mlseg_dist.style.config import StyleConfig
from mlseg_dist.style.network import VIEWS
from mlseg_dist.style.pairs import StylePair, generator_folder, styles
from mlseg_dist.style.stylist import Stylist
from shards.manifest import Manifest, ShardEntry, read_manifest
from shards.sample import decode_rgb
from shards.tar import ShardReader

TILE_PX, VARIANTS, ROWS = 176, 3, 4
SHEET = "sheet.jpg"
_GAP_PX, _CAPTION_PX, _HEADER_PX = 6, 18, 34


def write_sheet(
    config: StyleConfig, shards: Path, out: Path, pair: StylePair, seed: int, *, bf16: bool = False, rows: int = ROWS
) -> Path:
    """Draw sheet.jpg in the pair's folder. Raises UserError when the pair has no generator."""
    manifest = read_manifest(shards / "manifest.json")
    of_style, stylist = styles(manifest, config.by), Stylist(out, pair, seed, bf16)
    own = _chosen(shards, manifest, of_style[pair.source], rows, seed)
    theirs = _chosen(shards, manifest, of_style[pair.target], rows, seed)
    lines = []
    for (key, patch), (_, example) in zip(own, theirs, strict=True):
        high, low = (torch.from_numpy(patch[view])[None] for view in VIEWS)
        made = [stylist.style(high, low, [key], variant) for variant in range(VARIANTS)]
        for view in VIEWS:
            styled = [(one[view][0].cpu().numpy(), float(one[f"{view} ssim"][0])) for one in made]
            tiles = [(image, f"SSIM {kept:.3f}") for image, kept in styled]
            lines.append([(patch[view], f"{view} view"), *tiles, (example[view], "")])
    path = generator_folder(out, pair) / SHEET
    title = f"{pair.source} styled as {pair.target}, after {stylist.record['steps']} steps"
    titles = [pair.source, *(f"styled, latent {number}" for number in range(VARIANTS)), pair.target]
    write_atomic(path, _sheet(lines, title, titles))
    return path


def _chosen(
    folder: Path, manifest: Manifest, shards: Sequence[ShardEntry], count: int, seed: int
) -> list[tuple[str, dict[str, np.ndarray]]]:
    """(KEY, view -> uint8 (S, S, 3)) of pairs from as many slides as there are."""
    of_slide: dict[str, list[ShardEntry]] = {}
    for shard in shards:
        of_slide.setdefault(shard.slide, []).append(shard)
    slides, out = list(of_slide.values()), []
    for number in range(count):
        part = slides[number % len(slides)]
        random = generator(seed, "style", "show", number)
        entry = part[int(random.integers(len(part)))]
        with ShardReader(folder / entry.name, manifest.members) as reader:
            row = int(random.integers(len(reader)))
            members = reader.read(row, [f"{view}.jpg" for view in VIEWS])
            out.append((reader.key(row), {view: decode_rgb(members[f"{view}.jpg"]) for view in VIEWS}))
    return out


def _sheet(lines: Sequence[Sequence[tuple[np.ndarray, str]]], title: str, titles: Sequence[str]) -> bytes:
    from mlseg_dist.evaluation.pictures import FONT
    from mlseg_dist.report.look import INK, MUTED

    across, down = TILE_PX + _GAP_PX, TILE_PX + _CAPTION_PX + _GAP_PX
    size = (len(titles) * across + _GAP_PX, 2 * _HEADER_PX + len(lines) * down)
    sheet = Image.new("RGB", size, "white")
    pen, font, large = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 11), ImageFont.truetype(FONT, 15)
    pen.text((_GAP_PX, 9), title, fill=INK, font=large)
    for column, name in enumerate(titles):
        pen.text((_GAP_PX + column * across, _HEADER_PX + 12), name, fill=INK, font=font)
    for row, tiles in enumerate(lines):
        for column, (image, caption) in enumerate(tiles):
            left, top = _GAP_PX + column * across, 2 * _HEADER_PX + row * down
            small = cv2.resize(image, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
            sheet.paste(Image.fromarray(small), (left, top))
            pen.text((left, top + TILE_PX + 2), caption, fill=MUTED, font=font)
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=90, subsampling=0)
    return data.getvalue()
