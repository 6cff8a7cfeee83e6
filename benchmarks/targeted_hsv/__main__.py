"""python -m benchmarks.targeted_hsv [--real DIR] [--phantoms] [--sheet DIR] [--out FILE.md]

Which pixels targeted_hsv hits (half of the shift or more), with the windows it had before and with those of
configs/augment/table8.yaml: on scikit-image's IHC picture; on real slides of a folder (--real); on phantoms, whose dyes are known
(--phantoms). --sheet: outlines of what was taken for nuclei, beside what is hit, a PNG a picture, to look at. Without --out the
tables are printed only.
"""

import argparse
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common.policies import table8
from benchmarks.targeted_hsv.count import Counts, count
from benchmarks.targeted_hsv.pictures import artefacts, phantoms, real
from benchmarks.targeted_hsv.truth import Truth, truth
from mlseg_dist.augment.colour_ops import TargetedHsvOp
from mlseg_dist.augment.show.hits import HIT, picture, weights

BEFORE = TargetedHsvOp(op="targeted_hsv")
"""The op's defaults are the windows that table8.yaml had."""
_HEAD = (
    "| picture | windows | blue hits | brown hits | blue on nuclei | brown on nuclei | blue nuclei found | brown nuclei found |"
    " of DAB outside nuclei | of other tissue | of glass | shift of other tissue |\n|---|---|" + "---:|" * 10
)
_NOTES = """\
A pixel is hit when it gets half of the drawn shift or more. Before: hue and S alone, as the op's defaults still have it. Now:
`configs/augment/table8.yaml`, where V has a window too. Blue and brown hits: of all pixels. On nuclei: share of the hits
(precision). Found: share of the nuclei of that colour (recall); empty: fewer than 500 such pixels. Shift of other tissue: what its
pixels get on average, of the shift that is drawn.

Nuclei of real pictures are dense dye of the size of a nucleus (`benchmarks/targeted_hsv/truth.py`); nobody outlined them. Trust
differences between rows, not the second digit. Pale nuclei out of focus are missed, so blue is rather more precise than it says;
dark keratin and folds of H&E are taken for nuclei. Where DAB marks membranes it lies beside nuclei, not in them: then brown cannot
hit nuclei, and what counts is how much of the tissue it hits.

The windows were chosen from about two hundred, by eye and by this count, on the two IHC pictures, one GlaS tile, the CMU slide and
the phantoms of these very tables: nothing here is held out but seven GlaS tiles, artefacts and empty tiles. Expect less elsewhere.
The µm/px of scikit-image's picture is assumed (0.5).
"""


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    cv2.setNumThreads(1)
    windows = {"before": BEFORE, "now": now()}
    known = ((name, image, truth(image, mpp)) for name, image, mpp in real(options.real))
    lines = ["## Real pictures", "", *_table(known, windows, options.sheet)]
    if options.real:
        lines += ["", "## Artefacts and empty tiles: share of pixels hit", "", *_artefacts(options.real, windows)]
    if options.phantoms:
        lines += ["", "## Phantoms (truth: the dyes that were painted)", "", *_table(phantoms(), windows, None)]
    command = shlex.join(["python", "-m", "benchmarks.targeted_hsv", *arguments])
    page = "\n".join(["# Which pixels targeted HSV hits", "", f"`{command}`", "", _NOTES, *lines]) + "\n"
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    return 0


def now() -> TargetedHsvOp:
    return next(op for op in table8()["master-3"] if isinstance(op, TargetedHsvOp))


def _table(
    pictures: Iterable[tuple[str, np.ndarray, Truth]], windows: dict[str, TargetedHsvOp], sheet: Path | None
) -> list[str]:
    found: dict[tuple[str, str], Counts] = {}
    for name, image, known in pictures:
        image = np.ascontiguousarray(image)
        for when, op in windows.items():
            counted = count(op, image, known)
            key = (f"{name} ({known.kind})", when)
            found[key] = found[key] + counted if key in found else counted
        if sheet:
            _draw(sheet, name, image, known, windows["now"])
    rows = [_row(name, when, counts) for (name, when), counts in found.items()]
    return [_HEAD, *rows]


def _row(name: str, when: str, counts: Counts) -> str:
    cells = [_share(counts.hit[stain], counts.there["all"]) for stain in ("blue", "brown")]
    cells += [_ratio(counts.on_nuclei[stain], counts.hit[stain]) for stain in ("blue", "brown")]
    cells += [_ratio(counts.found[stain], counts.nuclei[stain]) for stain in ("blue", "brown")]
    cells += [_share(counts.elsewhere[kind], counts.there[kind]) for kind in ("dab", "rest", "glass")]
    cells.append(_share(counts.shifted["rest"], counts.there["rest"]))
    return f"| {name} | {when} | " + " | ".join(cells) + " |"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole >= 500 else ""


def _artefacts(folder: Path, windows: dict[str, TargetedHsvOp]) -> list[str]:
    kinds: dict[str, list[np.ndarray]] = {}
    for kind, pixels in artefacts(folder):
        kinds.setdefault(kind, []).append(pixels)
    lines = ["| kind | " + " | ".join(windows) + " |", "|---|" + "---:|" * len(windows)]
    for kind, parts in kinds.items():
        pixels = np.concatenate(parts, 1)
        hit = [np.logical_or.reduce([w >= HIT for w in weights(op, pixels).values()]).mean() for op in windows.values()]
        lines.append(f"| {kind} | " + " | ".join(f"{share:.1%}" for share in hit) + " |")
    return lines


def _draw(folder: Path, name: str, image: np.ndarray, known: Truth, op: TargetedHsvOp) -> None:
    """NAME.png: the picture under outlines of its nuclei. NAME.hits.png: what is hit."""
    folder.mkdir(parents=True, exist_ok=True)
    outlined = np.ascontiguousarray(image[..., ::-1])
    edges, _ = cv2.findContours(known.nuclei.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, edges, -1, (0, 255, 0), 1)
    cv2.imwrite(str(folder / f"{name}.png"), outlined)
    (folder / f"{name}.hits.png").write_bytes(picture(op, image))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targeted_hsv", description=__doc__)
    parser.add_argument(
        "--real", type=Path, metavar="DIR", help="real slides that say their µm/px, GlaS and cut-outs of artefacts"
    )
    parser.add_argument("--phantoms", action="store_true", help="phantoms too")
    parser.add_argument("--sheet", type=Path, metavar="DIR", help="write pictures to look at")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
