"""Annotations of z-stacks and time series: which plane's shapes are used.

A shape says the plane that it was drawn on (QuPath: `geometry.plane` with z, t and c); one that says nothing lies on
z 0, t 0. Slides are read as one plane, the file's own focal plane, so shapes of several planes must not be merged:

- those on z 0, t 0 are used, and the others are counted as ignored;
- where all shapes lie on one other plane, they are used: what is tumour there is tumour at every focus of the section;
- shapes on several planes, none of which is z 0, t 0, are refused: nobody says which plane is meant.

A channel (c) is no place: the three channels of a brightfield slide are one picture.
"""

from collections import Counter
from collections.abc import Callable

from shards.annotation.drawing import Drawing, Shape

OTHER_PLANE = ("on another z plane", "at another time point")
"""How the kinds of ignored shapes begin that lie on other planes."""
FIRST = (0, 0)
"""z, t of the plane that everything without a plane lies on."""


def keep_one_plane(drawing: Drawing, matters: Callable[[Shape], bool]) -> tuple[int, int]:
    """Remove and count the shapes on other planes than the one that is used, and return its (z, t).

    matters: whether a shape has a say in the choice; those that are ignored anyway have none. Raises ValueError.
    """
    planes = Counter(shape.plane for shape in drawing.shapes if matters(shape))
    if FIRST in planes or not planes:
        taken = FIRST
    elif len(planes) == 1:
        taken = next(iter(planes))
    else:
        listed = ", ".join(f"{_name(plane)} ({count})" for plane, count in sorted(planes.items()))
        raise ValueError(f"its shapes lie on several planes, none of them the first: {listed}")
    others = [shape for shape in drawing.shapes if shape.plane != taken and matters(shape)]
    for shape in others:
        kind = OTHER_PLANE[shape.plane[0] == taken[0]]
        drawing.ignored[f"{kind} ({_name(shape.plane)})"] += 1
    drawing.shapes = [shape for shape in drawing.shapes if shape.plane == taken or not matters(shape)]
    return taken


def _name(plane: tuple[int, int]) -> str:
    z, t = plane
    return f"z {z}, t {t}" if t else f"z {z}"
