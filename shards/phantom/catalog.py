"""Stains, scanners and labs of the phantom slides: constants only.

Optical density vectors (R, G, B) of haematoxylin, eosin, DAB, AEC, fast red, methyl green, ponceau and aniline blue: Ruifrok &
Johnston 2001; phloxine and saffron are ours. IHC labs counterstain briefly and blue it well, which turns haematoxylin to sky
blue: BLUED is between the published vector and a real Ki67 slide. Train slides have those of SEEN and SEEN_LABS only.
"""

from dataclasses import dataclass
from typing import Literal

Vector = tuple[float, float, float]

HAEMATOXYLIN: Vector = (0.650, 0.704, 0.286)
BLUED: Vector = (0.780, 0.570, 0.240)
EOSIN: Vector = (0.072, 0.990, 0.105)
DAB: Vector = (0.268, 0.570, 0.776)
AEC: Vector = (0.274, 0.679, 0.680)
PHLOXINE: Vector = (0.090, 0.930, 0.350)
SAFFRON: Vector = (0.120, 0.450, 0.885)
FAST_RED: Vector = (0.214, 0.851, 0.478)
METHYL_GREEN: Vector = (0.980, 0.144, 0.133)
PONCEAU: Vector = (0.100, 0.737, 0.668)
ANILINE_BLUE: Vector = (0.853, 0.509, 0.113)


@dataclass(frozen=True)
class Stain:
    """counterstain: of nuclei. chromogen: what marks the antigen. matrix: what colours protein (stroma, cytoplasm).

    strength: relative amounts of counterstain and matrix.
    """

    counterstain: Vector
    chromogen: Vector
    matrix: Vector
    strength: tuple[float, float]
    where: Literal["nucleus", "membrane", "none"]
    score: Literal["allred", "her2", "percent", "none"]


def mixed(first: Vector, second: Vector, share: float) -> Vector:
    """`share` of the second, the rest of the first."""
    a, b, c = ((1 - share) * x + share * y for x, y in zip(first, second, strict=True))
    return (a, b, c)


_FAINT = mixed(BLUED, DAB, 0.4)  # counterstain and unspecific DAB: the grey-beige of stroma in IHC

_IHC = (0.85, 0.75)

STAINS: dict[str, Stain] = {
    "ER": Stain(BLUED, DAB, _FAINT, _IHC, "nucleus", "allred"),
    "PR": Stain(BLUED, DAB, _FAINT, _IHC, "nucleus", "allred"),
    "HER2": Stain(BLUED, DAB, _FAINT, _IHC, "membrane", "her2"),
    "Ki67": Stain(BLUED, DAB, _FAINT, _IHC, "nucleus", "percent"),
    "GATA3": Stain(BLUED, AEC, mixed(BLUED, AEC, 0.4), _IHC, "nucleus", "percent"),
    "H&E": Stain(HAEMATOXYLIN, EOSIN, EOSIN, (1.0, 1.0), "none", "none"),
    "HPS": Stain(HAEMATOXYLIN, PHLOXINE, mixed(PHLOXINE, SAFFRON, 0.35), (1.0, 1.0), "none", "none"),
    "FastRed": Stain(HAEMATOXYLIN, FAST_RED, mixed(HAEMATOXYLIN, FAST_RED, 0.4), (1.1, 0.8), "nucleus", "percent"),
    "Green": Stain(METHYL_GREEN, DAB, mixed(METHYL_GREEN, DAB, 0.5), (0.9, 0.8), "nucleus", "percent"),
    "Masson": Stain(HAEMATOXYLIN, PONCEAU, mixed(PONCEAU, ANILINE_BLUE, 0.7), (1.0, 1.0), "none", "none"),
}


@dataclass(frozen=True)
class Scanner:
    """mpp: factor on the config's. blur: PSF sigma in µm. sharpen: unsharp amount. gamma, white: per channel R, G, B.

    mixing: how much of each channel leaks into the others. noise: standard deviation in grey levels.
    shading: how much darker light gets towards one side of the slide and back, 0 to 1.
    """

    mpp: float
    blur: float
    sharpen: float
    gamma: Vector
    white: Vector
    mixing: float
    noise: float
    shading: float = 0.0


SCANNERS: dict[str, Scanner] = {
    "Morphle": Scanner(0.97, 0.60, 0.0, (1.00, 1.03, 1.05), (243, 243, 240), 0.02, 2.5),
    "Optrascan": Scanner(1.06, 0.85, 0.2, (1.12, 1.05, 0.95), (236, 240, 245), 0.06, 3.5),
    "Philips": Scanner(1.00, 0.55, 0.5, (0.90, 0.92, 0.96), (250, 248, 250), 0.00, 1.5),
    "Motic": Scanner(1.03, 0.95, 0.0, (1.05, 0.95, 0.88), (240, 246, 238), 0.09, 4.0),
    "Aperio": Scanner(0.94, 0.70, 0.3, (0.88, 1.00, 1.10), (245, 238, 236), 0.04, 2.0),
    "Soft": Scanner(1.00, 1.40, 0.0, (1.05, 1.00, 0.98), (244, 240, 242), 0.04, 5.0),
    "Defocused": Scanner(0.97, 2.30, 0.0, (1.00, 1.03, 1.05), (243, 243, 240), 0.02, 2.5),
    "Sharpened": Scanner(1.00, 0.40, 1.5, (0.62, 0.66, 0.74), (252, 252, 255), 0.00, 4.0),
    "Steep": Scanner(1.02, 0.80, 0.2, (1.35, 1.30, 1.25), (238, 240, 236), 0.02, 2.0),
    "Warm": Scanner(1.00, 1.80, 0.0, (1.20, 1.10, 0.90), (250, 238, 205), 0.10, 7.0),
    "Uneven": Scanner(1.00, 0.90, 0.0, (1.00, 1.00, 1.00), (242, 236, 228), 0.03, 3.0, 0.22),
    "Cold": Scanner(1.00, 1.60, 0.0, (0.85, 1.00, 1.25), (212, 232, 252), 0.08, 6.0),
    "Crisp": Scanner(0.98, 0.45, 1.2, (0.75, 0.72, 0.70), (255, 250, 246), 0.00, 7.0),
    "Hazy": Scanner(1.00, 2.00, 0.0, (1.28, 1.25, 1.30), (232, 228, 232), 0.06, 3.0, 0.15),
}


@dataclass(frozen=True)
class Lab:
    """Amounts of nuclear counterstain, chromogen and matrix, and how far the lab's hues are turned (R against B).

    haze: optical density of dye that was not washed off the glass. grain: fine texture of dye, relative to the usual.
    """

    counterstain: float
    chromogen: float
    matrix: float
    turn: float
    haze: float = 0.0
    grain: float = 1.0


LABS: dict[str, Lab] = {
    "DS1": Lab(1.00, 1.00, 1.00, 0.00),
    "DS2": Lab(0.78, 1.15, 0.85, 0.05),
    "DS3": Lab(1.25, 0.90, 1.20, -0.05),
    "DS4": Lab(0.90, 0.80, 1.35, 0.03),
    "DS5": Lab(1.10, 1.25, 0.80, -0.08),
    "DS6": Lab(0.70, 0.95, 1.10, 0.08),
    "DS7": Lab(1.15, 0.90, 1.00, 0.10),
    "DS8": Lab(0.85, 1.10, 1.40, -0.11),
    "Pale": Lab(0.50, 0.55, 0.50, 0.00, 0.02, 0.7),
    "Dark": Lab(1.80, 1.50, 1.80, 0.00, 0.03, 1.5),
    "Turned": Lab(1.10, 1.00, 1.10, 0.22, 0.02),
    "Residue": Lab(1.00, 1.00, 0.90, -0.04, 0.09, 1.8),
    "Faded": Lab(0.60, 0.70, 0.80, -0.15, 0.04, 0.6),
    "Strong": Lab(1.60, 1.30, 1.40, 0.12, 0.05, 1.4),
}

SEEN = {"stain": ["ER", "PR", "HER2", "Ki67"], "scanner": ["Morphle", "Optrascan", "Philips"]}
SEEN_LABS = ["DS1", "DS2", "DS3", "DS4", "DS5", "DS6"]
UNSEEN = {"dev-unseen": ("GATA3", "Aperio", "DS8"), "final-unseen": ("H&E", "Motic", "DS7")}
"""The paper's unseen test is H&E, Motic, DS7; the set to tune on has its own three."""
