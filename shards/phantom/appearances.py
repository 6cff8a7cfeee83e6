"""Appearances: stains, scanners and labs outside of train in which one layout is rendered again and again.

The slides of one layout differ in nothing but their appearance, so a network's figures on them differ for no other reason.
The ranges are those of real slides and scanners: blur of 1 to 2.5 µm, over-sharpening, gamma .6 to 1.35, casts, noise of up to
7 grey levels, dye times .5 to 1.8, uneven light, and dye left on the glass.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Appearance:
    """What a slide was stained and scanned with: names in the catalog."""

    stain: str
    scanner: str
    source: str


DEV = {
    "hps": Appearance("HPS", "Morphle", "DS1"),
    "fast-red": Appearance("FastRed", "Aperio", "DS8"),
    "soft": Appearance("ER", "Soft", "DS2"),
    "defocused": Appearance("PR", "Defocused", "DS1"),
    "sharpened": Appearance("Ki67", "Sharpened", "DS3"),
    "steep": Appearance("HER2", "Steep", "DS4"),
    "warm": Appearance("ER", "Warm", "DS1"),
    "uneven": Appearance("PR", "Uneven", "Residue"),
    "pale": Appearance("Ki67", "Philips", "Pale"),
    "dark": Appearance("ER", "Optrascan", "Dark"),
}
"""To develop on: dev-unseen."""

FINAL = {
    "h&e": Appearance("H&E", "Motic", "DS7"),
    "masson": Appearance("Masson", "Aperio", "DS7"),
    "green": Appearance("Green", "Philips", "Turned"),
    "cold": Appearance("PR", "Cold", "DS5"),
    "crisp": Appearance("ER", "Crisp", "DS6"),
    "hazy": Appearance("Ki67", "Hazy", "Strong"),
    "faded": Appearance("HER2", "Motic", "Faded"),
}
"""To be opened once: final-unseen."""

APPEARANCES = DEV | FINAL
