"""The page of thumbnails: each region as tissue, with people's annotation, what the newest teacher says, and why it is there."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mlseg_core.html import Html, Templates, data_uri, image
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.labels import LEVELS
from mlseg_dist.report.look import CLASS_COLOURS
from mlseg_dist.report.overlay import overlay
from mlseg_dist.review.choosing import Region
from mlseg_dist.review.files import WORDS, geojson_name, sentence
from mlseg_dist.review.scores import middle
from shards.manifest import SlideEntry
from shards.sample import decode_label, decode_rgb

TILE_PX = 150
_GAP_PX = 4
_TEMPLATES = Templates(Path(__file__).parent / "templates")


def page(
    name: str,
    regions: Sequence[Region],
    slides: Mapping[str, SlideEntry],
    corpus: Corpus,
    patch_px: int,
    budget_mm2: float,
    remarks: Sequence[str],
) -> str:
    """Return the page. corpus: with the newest round's labels. remarks: what a reader has to know, in sentences."""
    reasons = Counter(region.reason for region in regions)
    area = sum(region.area_mm2 for region in regions)
    of_slide = Counter(region.patch.ref.slide for region in regions)
    return _TEMPLATES.page(
        "review.html",
        kind="review",
        name=name,
        summary=f"{len(regions)} regions, {area:.1f} of {budget_mm2:g} mm², on {len(of_slide)} slides",
        reasons=[(WORDS[reason], count) for reason, count in reasons.items()],
        remarks=remarks,
        colours=CLASS_COLOURS,
        files=[(geojson_name(slug), slides[slug], count) for slug, count in sorted(of_slide.items())],
        cards=[_card(region, slides[region.patch.ref.slide], corpus, patch_px) for region in regions],
    )


def _card(region: Region, entry: SlideEntry, corpus: Corpus, patch_px: int) -> dict[str, str | int | Html]:
    ref = region.patch.ref
    members, sidecar = corpus.read(ref, {"high.jpg", "high.png"}), corpus.read_sidecar(ref)
    tissue = middle(decode_rgb(members["high.jpg"]), patch_px)
    human = middle(corpus.training_class_of[decode_label(members["high.png"])], patch_px)
    codes = decode_label(sidecar["high.png"]) if sidecar is not None else np.full((1, 1), IGNORED, np.uint8)
    said = middle(codes, max(1, patch_px * codes.shape[0] // round(corpus.manifest.views["store_px"])))
    classes = np.where(said != IGNORED, said // LEVELS, IGNORED).astype(np.uint8)
    small = cv2.resize(tissue, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
    maps = [cv2.resize(one, (TILE_PX, TILE_PX), interpolation=cv2.INTER_NEAREST) for one in (human, classes)]
    strip = np.full((TILE_PX, 3 * TILE_PX + 2 * _GAP_PX, 3), 255, np.uint8)
    for place, tile in enumerate((small, *(overlay(small, one) for one in maps))):
        left = place * (TILE_PX + _GAP_PX)
        strip[:, left : left + TILE_PX] = tile
    data = io.BytesIO()
    Image.fromarray(strip).save(data, "JPEG", quality=85)
    alt = f"Region {region.rank}: the tissue, people's annotation, the teacher's classes"
    size = (strip.shape[1], strip.shape[0])
    return {
        "rank": region.rank,
        "why": sentence(region),
        "slide": entry.slug,
        "facts": f"{entry.stain}, {entry.scanner}",
        "picture": image(data_uri(data.getvalue(), "jpeg"), alt, size),
    }
