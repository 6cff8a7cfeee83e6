"""How the labels lie on a slide: on tissue or on glass, on the slide or beside it. In: an audit and an annotation.

Labels of another slide, or counted from another origin, look sound in every file that they are in. What gives them away
is that they do not follow the tissue.
"""

from dataclasses import replace

import numpy as np

from shards.annotation import Annotation
from shards.audit.slide import Audit
from shards.audit.tissue import TissueMask
from shards.config import ShardsConfig

MAY_BE_GLASS = (
    *("background", "glass", "outside", "blank", "empty", "white", "void"),
    *("artefact", "artifact", "bubble", "air", "blur", "dust", "dirt", "pen", "ink", "marker", "thread", "debris"),
    *("vessel", "lumen", "lumina", "fat", "adipose", "other", "unknown", "roi"),
)
"""Words in the names of fine classes whose regions may hold no tissue: their pixels are not counted."""
LEAST_ON_TISSUE = 0.5
"""Less than this share of the counted pixels on tissue: flag `off_tissue`.

Measured: 0.9995 to 1 on the demo's 20 phantoms, 0.58 to 1 for the glands of GlaS' 121 tiles; labels of QuPath on a slide
with bounds, laid from the corner of level 0: 0.
"""
SURELY_OFF_TISSUE = 0.2
"""Less than this: quarantine, whatever the policy, unless the slide table states the annotation's origin."""
LABELLED_EVERYWHERE = 0.5
"""Where more than this share of the slide is labelled, labels need not follow the tissue, and no flag is raised: in masks
whose 0 is a class, glass has a label too. GlaS' tiles with all their classes go down to 0.51 so."""
MOST_OFF_SLIDE = 0.05
"""More than this share of the annotated area off the slide: flag `off_slide`. Over half is refused before."""
_MOST_POINTS = 1024  # a side
_FEWEST = 25  # counted points; fewer are not judged


def with_labels(
    audit: Audit, annotation: Annotation, config: ShardsConfig, scanned: tuple[float, float, float, float]
) -> Audit:
    """The audit with the measures and flags of the labels. scanned: x0, y0, x1, y1 of the slide's scanned part.

    off_slide_share: of the annotated area. off_slide_regions: those that are more than half off. labels_on_tissue: of
    the pixels that are labelled with classes of tissue, 0 to 1; missing where there are none.
    """
    off = annotation.off(scanned)
    measures = {"off_slide_share": round(off.share, 5), "off_slide_regions": float(off.mostly)}
    flags, always = {}, []
    if off.share > MOST_OFF_SLIDE:
        regions = f", {off.mostly} of {off.regions} regions by more than half" if off.mostly else ""
        flags["off_slide"] = f"{off.share:.0%} of the annotated area lies off the slide{regions}. {_advice(annotation)}"
    share, covered = _share_on_tissue(annotation, audit.tissue, config)
    if share is not None:
        measures["labels_on_tissue"] = round(share, 5)
        tissue = audit.measures["tissue_share"]
        covers_all = covered > LABELLED_EVERYWHERE * (scanned[2] - scanned[0]) * (scanned[3] - scanned[1])
        mask_is_wrong = not {"empty", "colour", "inverted"}.isdisjoint(audit.flags)
        if share < LEAST_ON_TISSUE and not covers_all and not mask_is_wrong:
            flags["off_tissue"] = (
                f"Only {share:.0%} of what is labelled as tissue lies on tissue ({tissue:.0%} of the slide is tissue). "
                f"{_advice(annotation)}"
            )
            if share < SURELY_OFF_TISSUE and not annotation.placement.stated:
                always.append("off_tissue")
    return replace(
        audit, measures=audit.measures | measures, flags=audit.flags | flags, always=(*audit.always, *always)
    )


def may_be_glass(name: str) -> bool:
    """Whether regions of a fine class of this name may hold no tissue."""
    words = "".join(letter if letter.isalpha() else " " for letter in name.casefold()).split()
    return any(word.removesuffix("s") in MAY_BE_GLASS or word in MAY_BE_GLASS for word in words)


def _advice(annotation: Annotation) -> str:
    return (
        f"It may belong to another slide, or count from elsewhere than {annotation.placement}: look at it, then say "
        "level0 or bounds in column origin of the slide table."
    )


def _share_on_tissue(annotation: Annotation, tissue: TissueMask, config: ShardsConfig) -> tuple[float | None, float]:
    """Share of the counted pixels that lie on tissue (None: too few to tell), and their area in level-0 px².

    Taken on a grid over what is annotated, as fine as the tissue mask or of 1024 points a side.
    """
    if annotation.bounds is None:
        return None, 0.0
    x0, y0, x1, y1 = annotation.bounds
    columns, rows = (
        min(_MOST_POINTS, max(1, int(np.ceil(length / scale))))
        for length, scale in zip((x1 - x0, y1 - y0), tissue.scale, strict=True)
    )
    step = ((x1 - x0) / columns, (y1 - y0) / rows)
    label = annotation.label((x0, y0), step, (columns, rows))
    counted = [number for number, name in enumerate(config.fine_classes) if not may_be_glass(name)]
    row, column = np.nonzero(np.isin(label, counted))
    if len(row) < _FEWEST:
        return None, 0.0
    on_tissue = tissue.at(x0 + (column + 0.5) * step[0], y0 + (row + 0.5) * step[1])
    return float(on_tissue.mean()), len(row) * step[0] * step[1]
