"""Colours of classes and scanners, chosen to stand out on pink, brown and blue tissue."""

from collections.abc import Sequence

UNANNOTATED = "#8d95a3"
_TUMOUR, _BACKGROUND = "#d0323a", "#b9bec7"
_OTHERS = (
    "#2b6cb0",
    "#3f9b52",
    "#e0a01f",
    "#8a5fb8",
    "#1fa7a0",
    "#e2762b",
    "#8a5a3c",
    "#e57aa5",
    "#5b7f1e",
    "#4b53b5",
    "#7cc04b",
    "#38a3dd",
    "#b0488c",
    "#8f8a2a",
    "#55647f",
    "#d49a6a",
    "#1d6b45",
    "#6f4a86",
)


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """Class name -> #rrggbb. Tumour is red and background grey, whatever they are called in full."""
    colours, spare = {}, 0
    for name in classes:
        if "tumour" in name.lower() or "tumor" in name.lower() or "malignant" in name.lower():
            colours[name] = _TUMOUR
        elif "background" in name.lower():
            colours[name] = _BACKGROUND
        else:
            colours[name] = _OTHERS[spare % len(_OTHERS)]
            spare += 1
    return colours


def in_order(names: Sequence[str]) -> dict[str, str]:
    """Name -> #rrggbb by place: for scanners."""
    return {name: _OTHERS[number % len(_OTHERS)] for number, name in enumerate(names)}


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
