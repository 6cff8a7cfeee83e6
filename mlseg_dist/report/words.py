"""Figures in words: shares, intervals, numbers of patients. In: numbers and INTERVAL dicts of evaluation.json. Out: plain text.

An INTERVAL is {"value", "low", "high", "patients"}; each of them may be None, and the whole may be missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlseg_dist.config import CLASSES, HELD_OUT

Interval = Mapping[str, Any]
NO_FIGURE: Interval = {"value": None, "low": None, "high": None, "patients": 0}
NARROW = "\u00a0"
"""A space at which no line breaks."""
SPLIT_NAMES = {"val": "validation", "test": "test", "dev-unseen": "unseen (dev)", "final-unseen": "unseen (final)"}
SLIDES_OF = {
    "val": "the validation slides",
    "test": "the test slides",
    "dev-unseen": "the unseen slides (dev)",
    "final-unseen": "the unseen slides (final)",
}
LEARNT = CLASSES[1:]
"""The classes that a campaign is about; background is the rest."""
ORDER = (*LEARNT, CLASSES[0])
"""The classes in the order of columns. Background is last: it is what a narrow window may cut to scroll."""
NETWORKS = {"unet": "U-Net", "munet": "m-UNet", "hooknet": "HookNet", "deeplab": "DeepLab"}


def place_of(split: str) -> int:
    """Order of splits on the page: the ones to quote first, validation, which chose the teachers, last."""
    return HELD_OUT.index(split) if split in HELD_OUT else len(HELD_OUT)


def share(value: float | None, digits: int = 3) -> str:
    """A figure between 0 and 1 without its leading zero: `.797`. A dash where it is not defined."""
    if value is None:
        return "–"
    shown = f"{value:.{digits}f}"
    return (shown.removeprefix("0") if value >= 0 else "−" + shown[1:].removeprefix("0")) or shown


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign: `+.110`, `−.020`."""
    if value is None:
        return "–"
    shown = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(shown) else "+"
    return sign + shown.removeprefix("0")


def limits(found: Interval | None, digits: int = 2, sign: bool = False) -> str:
    """`[.60, .77]`; empty where there is no interval."""
    if not has_interval(found):
        return ""
    assert found is not None
    write = signed if sign else share
    return f"[{write(found['low'], digits)},{NARROW}{write(found['high'], digits)}]"


def has_interval(found: Interval | None) -> bool:
    return bool(found) and found is not None and found.get("low") is not None and found.get("high") is not None


def value_of(found: Interval | None) -> float | None:
    return found.get("value") if found else None


def with_limits(found: Interval | None, digits: int = 2) -> str:
    """`.69 [.60, .77]`, or `.69` alone."""
    return f"{share(value_of(found), digits)}{NARROW}{limits(found, digits)}".rstrip()


def counted(number: int, one: str, many: str = "") -> str:
    """`1 patient`, `6 patients`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def pixels(count: float) -> str:
    """A number of pixels to two or three digits: `1.3 Mpx`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{NARROW}{unit}px"
    return f"{count:.0f}{NARROW}px"
