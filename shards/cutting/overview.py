"""What people see of a slide without opening it: `overview/NAME.json` with a thumbnail and a tissue mask beside it."""

import cv2
import numpy as np

from mlseg_core.exactly_once.run import Scratch
from shards.annotation import UNLABELLED, Annotation
from shards.audit import Audit
from shards.audit.tissue import TissueMask
from shards.config import ShardsConfig
from shards.outside import box_on_slide
from shards.reader import OVERVIEW_PX, SlideReader
from shards.sample import encode_jpeg, encode_json, encode_png
from shards.sampling import Sampling
from shards.slide_table import Slide

_MOST_SEEDS = 5000
_OUTLINE_PX = 0.7  # tolerance of outlines, thumbnail px


def write_overview(
    scratch: Scratch,
    name: str,
    config: ShardsConfig,
    slide: Slide,
    reader: SlideReader,
    annotation: Annotation | None,
    audit: Audit,
    sampling: Sampling,
    unreadable: int,
) -> None:
    """Positions are level-0 px. At most 5000 seeds are kept, evenly drawn."""
    thumbnail = reader.overview.rgb
    height, width = thumbnail.shape[:2]
    step = [config.high_mpp / mpp for mpp in reader.mpp]
    seeds = [[round(s.column * step[0]), round(s.row * step[1]), s.fine] for s in sampling.seeds]
    every = max(1, -(-len(seeds) // _MOST_SEEDS))
    fine = np.array([seed[2] for seed in seeds], int)
    names = {**dict(enumerate(config.fine_classes)), UNLABELLED: "tissue"}
    outlines = annotation.outlines(_OUTLINE_PX * reader.size[0] / width) if annotation is not None else []
    facts = {
        "version": 1,
        "slug": slide.slug,
        "slide": slide.slide.name,
        "size": list(reader.size),
        "mpp": [round(value, 6) for value in reader.mpp],
        "levels": [list(level) for level in reader.levels],
        "vendor": reader.properties.get("openslide.vendor", ""),
        "inside": {
            view: box_on_slide(reader.size, reader.mpp, reader.bounds, mpp)
            for view, mpp in (("high", config.high_mpp), ("low", config.low_mpp))
        },
        "thumb_px": [width, height],
        "glass": list(reader.glass),
        "measures": audit.measures,
        "flags": audit.flags,
        "annotation": _laid(annotation) if annotation is not None else None,
        "quarantined": audit.quarantined(config.audit),
        "patch_um": [config.store_px * config.high_mpp, config.store_px * config.low_mpp],
        "seeds": seeds[::every],
        "seeds_total": len(seeds),
        "counts": {names[i]: int((fine == i).sum()) for i in sorted(set(fine.tolist()))},
        "dropped": sampling.dropped | ({"pixels that cannot be decoded": unreadable} if unreadable else {}),
        "outlines": [[number, np.round(ring).astype(int).tolist()] for number, ring in outlines],
    }
    for suffix, data in (
        ("json", encode_json(facts)),
        ("thumb.jpg", encode_jpeg(thumbnail, 85)),
        ("tissue.png", mask_png(audit.tissue)),
    ):
        scratch.file(f"overview/{name}.{suffix}").write_bytes(data)


def _laid(annotation: Annotation) -> dict[str, object]:
    """How the annotation was laid on the slide, and what no label came of, by kind."""
    placement = annotation.placement
    return {
        "format": placement.format,
        "origin": placement.origin,
        "offset": list(placement.offset),
        "stated": placement.stated,
        "plane": dict(zip("zt", placement.plane, strict=True)),
        "ignored": dict(sorted(annotation.ignored.items())),
    }


def mask_png(tissue: TissueMask) -> bytes:
    """The whole slide, tissue white on black, its longer side at most OVERVIEW_PX."""
    height, width = tissue.mask.shape
    factor = min(1.0, OVERVIEW_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    shares = cv2.resize(tissue.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return encode_png(np.where(shares >= 0.5, 255, 0).astype(np.uint8))
