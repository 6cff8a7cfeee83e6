"""One card a slide: thumbnail with tissue, annotation and patches drawn in as SVG, what was measured, what was flagged."""

from collections import Counter

import cv2
import numpy as np

from mlseg_core.files import fingerprint
from mlseg_core.html import Html, data_uri, percent
from shards.annotation import UNLABELLED
from shards.manifest import SlideEntry
from shards.sample import decode_label, decode_rgb, encode_jpeg
from shards.show.colours import UNANNOTATED
from shards.show.parts import made
from shards.show.sources import Corpus, Overview, laid_words

MOST_CARDS = 60
_THUMB_PX = 480
_JPEG_QUALITY = 80
_MOST_POINTS = 4000  # of all outlines of a card
_MOST_SEEDS = 1500  # drawn on a card
_MEASURES = {
    "tissue_share": "tissue",
    "pen_share": "pen",
    "blurred_share": "blurred",
    "labels_on_tissue": "labels on tissue",
}


def chosen(corpus: Corpus) -> list[SlideEntry]:
    """Slides that get a card: quarantined, flagged and empty ones first, then splits and stains in turn, by lot."""
    turn: Counter[tuple[str, str]] = Counter()
    ranked = []
    for slide in sorted(corpus.manifest.slides, key=lambda slide: fingerprint([slide.slug])):
        view = corpus.overviews[slide.slug]
        bad = slide.slug in corpus.quarantine
        odd = (view is not None and bool(view.flags)) or not corpus.samples_of(slide)
        group = (slide.split, slide.stain)
        ranked.append((not bad, not odd, turn[group], group, slide.slug, slide))
        turn[group] += 1
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1])[:MOST_CARDS]]


def card(corpus: Corpus, slide: SlideEntry, colours: dict[str, str]) -> Html:
    """The slide's picture, facts and warnings."""
    view, bad = corpus.overviews[slide.slug], corpus.quarantine.get(slide.slug)
    named = [slide.split, slide.stain, slide.scanner, slide.source, f"patient {slide.patient}"]
    named += [f"score {slide.score:g}"] if slide.score is not None else []
    return made.card(
        slide.slide,
        " · ".join(part for part in named if part),
        bad.reason if bad is not None else None,
        list(view.flags.values()) if view is not None else [],
        _picture(view, list(corpus.manifest.classes), colours),
        _facts(view) if view is not None else [],
        corpus.samples_of(slide),
        _seeds(corpus, slide, colours),
    )


def _facts(view: Overview) -> list[str]:
    side = " × ".join(f"{px * mpp / 1000:.1f}" for px, mpp in zip(view.size, view.mpp, strict=True))
    measured = [f"{name} {percent(view.measures[key])}" for key, name in _MEASURES.items() if key in view.measures]
    return [
        f"{side} mm at {view.mpp[0]:.3g} µm/px, {view.levels} level{'s' * (view.levels != 1)}, {view.vendor}",
        " · ".join(measured),
        *([laid_words(view.laid)] if view.laid is not None else []),
    ]


def _seeds(corpus: Corpus, slide: SlideEntry, colours: dict[str, str]) -> list[tuple[str, str, int]]:
    """Class, its colour and how many pairs have their seed in it."""
    seeds: Counter[str] = Counter()
    for shard in corpus.manifest.shards:
        if shard.slide == slide.slug:
            seeds.update(shard.seeds)
    found = [(name, colours[name], seeds[name]) for name in corpus.manifest.classes if seeds[name]]
    others = corpus.samples_of(slide) - sum(seeds.values())
    return [*found, ("unannotated", UNANNOTATED, others)] if others > 0 else found


def _picture(view: Overview | None, classes: list[str], colours: dict[str, str]) -> Html:
    try:
        image = decode_rgb(view.thumbnail.read_bytes()) if view is not None else None
        mask = decode_label(view.tissue.read_bytes()) if view is not None else None
    except (OSError, ValueError):
        image = mask = None
    if view is None or image is None or mask is None:
        return made.no_thumbnail()
    scale = min(1.0, _THUMB_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    zoom = np.array(size) / view.size  # thumbnail px per level-0 px
    thumbnail = data_uri(encode_jpeg(small, _JPEG_QUALITY), "jpeg")
    patches, outlines = _patches(view, zoom, classes, colours), _annotation(view, zoom, classes, colours)
    return made.drawn_slide(size, thumbnail, _tissue(mask, size), *patches, outlines)


def _tissue(mask: np.ndarray, size: tuple[int, int]) -> str:
    """The border of the tissue mask."""
    small = cv2.copyMakeBorder(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    rings, _ = cv2.findContours(
        (small > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(-1, -1)
    )
    large = [ring.reshape(-1, 2) for ring in rings if cv2.contourArea(ring) >= 12]
    return _rings(large)


def _annotation(view: Overview, zoom: np.ndarray, classes: list[str], colours: dict[str, str]) -> list[tuple[str, str]]:
    """Outlines and the colours of their classes; weak ones first, as they were drawn into the labels."""
    paths = []
    for fine in dict.fromkeys(fine for fine, _ in view.outlines):
        rings = [ring * zoom for number, ring in view.outlines if number == fine]
        colour = colours[classes[fine]] if 0 <= fine < len(classes) else UNANNOTATED
        share = max(1, _MOST_POINTS * sum(map(len, rings)) // max(1, sum(len(ring) for _, ring in view.outlines)))
        paths.append((_rings(rings, share), colour))
    return paths


def _patches(
    view: Overview, zoom: np.ndarray, classes: list[str], colours: dict[str, str]
) -> tuple[str, str, float, list[tuple[str, str]]]:
    """The fields of the high views as one veil; seeds: their halo, the width of a dot, and those of each class with its colour."""
    seeds = view.seeds[:: max(1, -(-len(view.seeds) // _MOST_SEEDS))]
    side = view.field_um / np.array(view.mpp) * zoom
    veil = "".join(
        f"M{x:.0f} {y:.0f}h{side[0]:.0f}v{side[1]:.0f}h-{side[0]:.0f}z" for x, y in seeds[:, :2] * zoom - side / 2
    )
    dots = []
    for fine in sorted(set(seeds[:, 2].astype(int).tolist()), reverse=True):
        colour = colours[classes[fine]] if 0 <= fine < len(classes) and fine != UNLABELLED else UNANNOTATED
        places = seeds[seeds[:, 2] == fine][:, :2] * zoom
        dots.append(("".join(f"M{x:.1f} {y:.1f}h0" for x, y in places), colour))
    halo = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in seeds[:, :2] * zoom)
    size = min(7.0, max(3.2, _THUMB_PX / 12 / max(1, len(seeds)) ** 0.5))  # few seeds: large dots
    return veil, halo, size, dots


def _rings(rings: list[np.ndarray], most: int = _MOST_POINTS) -> str:
    """Closed SVG subpaths; simplified until they have at most `most` points."""
    tolerance = 0.4
    while True:
        simple = [
            cv2.approxPolyDP(ring.astype(np.float32), tolerance, True).reshape(-1, 2) for ring in rings if len(ring)
        ]
        kept = [ring for ring in simple if len(ring) > 2]
        if sum(map(len, kept)) <= most or tolerance > _THUMB_PX:
            return "".join(f"M{'L'.join(f'{x:.1f} {y:.1f}' for x, y in ring)}Z" for ring in kept)
        tolerance *= 2
