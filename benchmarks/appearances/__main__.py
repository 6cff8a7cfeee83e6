"""python -m benchmarks.appearances [--real DIR] [--sheet FILE.png]

One layout in every appearance, and a few slides of train. For each: mean colour of tissue (CIELab), colour distance to the nearest
slide of train (ΔE of the means), how much its colour varies, detail (standard deviation of what a blur of 1.5 µm takes away) and
the colour of its glass. --real: the same of real slides, a folder of any files that OpenSlide or tifffile opens.
"""

import argparse
from pathlib import Path

import cv2
from PIL import Image

from benchmarks.appearances.look import Look, nearest, of_picture
from benchmarks.appearances.pictures import phantoms, sheet
from benchmarks.common.real_slides import real_slides


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.appearances", description=__doc__)
    parser.add_argument("--real", type=Path, metavar="DIR", help="real slides to compare with")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a contact sheet of the phantoms, PNG")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pictures = dict(phantoms())
    looks = {name: of_picture(picture, 1.0) for name, picture in pictures.items()}
    train = {name: look for name, look in looks.items() if name.startswith("train")}
    real = (
        {name: of_picture(picture, mpp) for name, picture, mpp in real_slides(arguments.real)} if arguments.real else {}
    )
    print(
        "| slide | L* | a* | b* | ΔE to train | spread of L* | detail | glass (R, G, B) |\n|---|---|---|---|---|---|---|---|"
    )
    for name, look in [*looks.items(), *real.items()]:
        others = {other: seen for other, seen in train.items() if other != name}
        print(_row(name, look, nearest(look, others.values())))
    if arguments.sheet:
        Image.fromarray(sheet(pictures)).save(arguments.sheet)


def _row(name: str, look: Look, distance: float) -> str:
    lab = " | ".join(f"{value:.0f}" for value in look.mean)
    glass = ", ".join(f"{value:.0f}" for value in look.glass)
    return f"| {name} | {lab} | {distance:.0f} | {look.spread:.0f} | {look.detail:.1f} | {glass} |"


if __name__ == "__main__":
    main()
