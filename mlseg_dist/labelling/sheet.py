"""A round's contact sheet for people: both views of a few pairs, with human labels and what the teacher's round accepts.

Slides with least acceptance come first, then the others in turns of stains; pairs take turns among drawing classes. The choice
follows from the round's records alone. Out: contact-sheet.jpg in the round's folder, which no manifest lists as a shard.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, write_atomic
from mlseg_dist.config import CLASSES, IGNORED, LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.corpus import class_table
from mlseg_dist.data.labels import VIEWS, Accepting, in_words
from mlseg_dist.labelling.thresholds import Expected
from mlseg_dist.privacy.pseudonyms import PICTURE_MARK, Pseudonyms
from mlseg_dist.report.words import ORDER, share
from mlseg_dist.run_folder import shards_folder
from shards.manifest import Manifest, ShardEntry, kept_seeds
from shards.outside import OUTSIDE, Outside
from shards.sample import decode_label, decode_rgb
from shards.tar import ShardReader

SHEET = "contact-sheet.jpg"
TILE_PX = 224
_GAP_PX, _CAPTION_PX, _HEADER_PX, _COLUMNS = 6, 22, 34, 2
_TITLES = ("view", "human label", "accepted")
_TURNS = (1, 2, 0)
_LEAST = 3
"""Every so many-th slide is one of those with least acceptance."""


@dataclass(frozen=True)
class Shown:
    """A pair on the sheet. sidecar: its entry in the round; kept: accepted part of its slide's px."""

    sidecar: ShardEntry
    row: int
    stain: str
    kept: float


def slides_to_show(entries: Sequence[ShardEntry], stain_of: dict[str, str], count: int) -> list[tuple[str, float]]:
    """(slide, accepted part of its px): a third those with least acceptance, the others stain by stain; then all again."""
    accepted: dict[str, list[int]] = {}
    for entry in entries:
        pixels = accepted.setdefault(entry.slide, [0, 0])
        on_slide = sum(entry.pixels.values()) - entry.pixels.get(OUTSIDE, 0)
        pixels[0] += on_slide - entry.pixels["rejected"]
        pixels[1] += on_slide
    kept = {slide: part / max(1, total) for slide, (part, total) in accepted.items()}
    worst = sorted(kept, key=lambda slide: (kept[slide], slide))[: -(-min(count, len(kept)) // _LEAST)]
    of_stain: dict[str, list[str]] = {}
    for slide in sorted(kept.keys() - set(worst), key=lambda slide: fingerprint(slide)):
        of_stain.setdefault(stain_of.get(slide, "unknown"), []).append(slide)
    turns: list[str] = []
    while any(of_stain.values()):
        turns += [slides.pop(0) for _, slides in sorted(of_stain.items()) if slides]
    order = [*worst, *turns]
    return [(slide, kept[slide]) for slide in (order[i % len(order)] for i in range(count))] if order else []


def choose(
    entries: Sequence[ShardEntry],
    corpus: Manifest,
    human: Mapping[str, np.ndarray],
    accepted: Mapping[str, np.ndarray],
    count: int,
) -> list[Shown]:
    """Pairs to show, each once. human, accepted: shard or sidecar name -> training class at each seed."""
    stain_of = {row.slug: row.stain for row in corpus.slides}
    shown: list[Shown] = []
    taken: set[tuple[str, int]] = set()
    for place, (slide, kept) in enumerate(slides_to_show(entries, stain_of, count)):
        of_slide = [entry for entry in entries if entry.slide == slide]
        entry = of_slide[place % len(of_slide)]
        drawn = np.where(human[entry.of] != IGNORED, human[entry.of], accepted[entry.name])
        rows = [row for row in range(entry.samples) if (entry.name, row) not in taken]
        wanted = [row for row in rows if drawn[row] == _TURNS[place % len(_TURNS)]] or rows
        if wanted:
            row = wanted[int(fingerprint([entry.of, place]), 16) % len(wanted)]
            taken.add((entry.name, row))
            shown.append(Shown(entry, row, stain_of.get(slide, "unknown"), kept))
    return shown


def write_sheet(
    config: LearningConfig,
    step_index: int,
    run: Path,
    folder: Path,
    corpus: Manifest,
    entries: Sequence[ShardEntry],
    accepted: Mapping[str, np.ndarray],
    accepting: Accepting,
    hoped: Expected | None,
) -> str:
    """Draw the round's sheet into its folder. accepted: sidecar name -> class at each seed. Returns its name.

    hoped: what is expected of the round; None where nobody asked.
    """
    step, source = config.steps[step_index], shards_folder(run)
    table = class_table(corpus.classes, config.training_classes)
    human = {name: table[seeds] for name, seeds in kept_seeds(source).items()}
    shown = choose(entries, corpus, human, accepted, step.label.sheet)
    names = _names(run)
    cells = [_cell(one, folder, source, corpus, table, accepting, names) for one in shown]
    title = f"Round {step_index + 1}: labels by {step.name}, accepted {in_words(accepting)}"
    write_atomic(folder / SHEET, _sheet(cells, title, _hope(hoped)))
    return SHEET


def _cell(
    one: Shown,
    folder: Path,
    source: Path,
    corpus: Manifest,
    table: np.ndarray,
    accepting: Accepting,
    names: Pseudonyms | None,
) -> tuple[str, list[np.ndarray]]:
    """Caption, and tiles uint8 (TILE_PX, TILE_PX, 3): those of the high view, then those of the low one."""
    from mlseg_dist.labelling.work import MEMBERS
    from mlseg_dist.report.overlay import overlay

    with ShardReader(folder / one.sidecar.name, MEMBERS) as sidecar:
        written = sidecar.read(one.row)
    codes = {view: decode_label(written[f"{view}.png"]) for view in VIEWS}
    with ShardReader(source / one.sidecar.of, corpus.members) as pairs:
        key, members = pairs.key(one.row), pairs.read(one.row)
        stride = round(corpus.views["store_px"]) // codes["high"].shape[0]
        outside = Outside(corpus).of_row(pairs, one.row, stride)
    tiles, here = [], []
    for view in VIEWS:
        image = cv2.resize(decode_rgb(members[f"{view}.jpg"]), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
        accepted = labels.decode(codes[view], accepting.table(view))
        maps = (table[decode_label(members[f"{view}.png"])], accepted)
        small = [cv2.resize(m, (TILE_PX, TILE_PX), interpolation=cv2.INTER_NEAREST) for m in maps]
        tiles += [image, *(overlay(image, m) for m in small)]
        off = outside.get(view, np.zeros(accepted.shape, bool))
        here.append(float((accepted[~off] != IGNORED).mean()) if not off.all() else 0.0)
    place = key.partition("+")[2]
    who = [one.stain, *([names.slide(one.sidecar.slide)] if names else []), place]
    caption = f"{' · '.join(who)} · accepted {here[0]:.0%} (low {here[1]:.0%}), slide {one.kept:.0%}"
    return caption, tiles


def _hope(hoped: Expected | None) -> str:
    """How often each class is expected to be right, by view; "" where nobody asked."""
    if hoped is None:
        return ""
    views = [
        f"{view} view {', '.join(f'{name} {share(found[name], 2)}' for name in ORDER if name in found)}"
        for view, found in hoped.precision.items()
    ]
    return f"expected to be right, of what is accepted: {'; '.join(views)}"


def _names(run: Path) -> Pseudonyms | None:
    """None where their key is another user's, or damaged: that is no reason to refuse a round of labels."""
    try:
        return Pseudonyms.of(run)
    except UserError:
        return None


def _sheet(cells: Sequence[tuple[str, list[np.ndarray]]], title: str, hope: str) -> bytes:
    """JPEG of captioned rows of tiles, in columns, under a legend."""
    from mlseg_dist.evaluation.pictures import FONT
    from mlseg_dist.report.look import CLASS_COLOURS, INK, MUTED

    width = len(_TITLES) * TILE_PX + (len(_TITLES) - 1) * _GAP_PX
    height = _CAPTION_PX + len(VIEWS) * (TILE_PX + _GAP_PX)
    lines = max(1, -(-len(cells) // _COLUMNS))
    size = (_COLUMNS * width + (_COLUMNS + 1) * 3 * _GAP_PX, 2 * _HEADER_PX + lines * height + _GAP_PX)
    sheet = Image.new("RGB", size, "white")
    pen, font, large = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 11), ImageFont.truetype(FONT, 15)
    left = 3 * _GAP_PX
    pen.text((left, 9), title, fill=INK, font=large)
    left += int(pen.textlength(title, large)) + 30
    for name in CLASSES:
        pen.rectangle((left, 12, left + 14, 26), fill=CLASS_COLOURS[name])
        pen.text((left + 20, 12), name, fill=INK, font=font)
        left += 36 + int(pen.textlength(name, font))
    pen.text((left, 12), "paled: no human label, or not accepted", fill=MUTED, font=font)
    pen.text((3 * _GAP_PX, _HEADER_PX - 4), hope, fill=INK, font=font)
    for number, (caption, tiles) in enumerate(cells):
        line, column = divmod(number, _COLUMNS)
        left, top = 3 * _GAP_PX + column * (width + 3 * _GAP_PX), 2 * _HEADER_PX + line * height
        pen.text((left, top + 4), caption, fill=INK, font=font)
        for place, tile in enumerate(tiles):
            row, across = divmod(place, len(_TITLES))
            x, y = left + across * (TILE_PX + _GAP_PX), top + _CAPTION_PX + row * (TILE_PX + _GAP_PX)
            sheet.paste(Image.fromarray(tile), (x, y))
            if across == 0:
                pen.rectangle((x, y, x + 8 + int(pen.textlength(VIEWS[row], font)), y + 16), fill="white")
                pen.text((x + 4, y + 2), VIEWS[row], fill=INK, font=font)
            if number < _COLUMNS and row == 0:
                pen.text((x, _HEADER_PX + 16), _TITLES[across], fill=MUTED, font=font)
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=88, subsampling=0, comment=PICTURE_MARK)
    return data.getvalue()
