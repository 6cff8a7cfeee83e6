"""How an annotation was laid on its slide, in words."""

from shards.annotation.origin import FORMAT_NAMES
from shards.show.sources import Laid


def placement_words(laid: Laid) -> str:
    """Where its coordinates begin: "level 0", or "the scanned bounds at (1000, 600)"."""
    if laid.origin == "level0":
        return "level 0"
    return f"the scanned bounds at ({laid.offset[0]:g}, {laid.offset[1]:g})"


def laid_words(laid: Laid) -> str:
    """Such as "GeoJSON, counted from the scanned bounds at (1000, 600); left out: 3 Point"."""
    said = f"{FORMAT_NAMES.get(laid.format, laid.format)}, counted from {placement_words(laid)}"
    said += " as the slide table says" if laid.stated else ""
    said += f", drawn on z {laid.plane[0]}, t {laid.plane[1]}" if laid.plane != (0, 0) else ""
    left_out = ", ".join(f"{number:,} {kind}" for kind, number in laid.ignored.items())
    return said + (f"; left out: {left_out}" if left_out else "")
