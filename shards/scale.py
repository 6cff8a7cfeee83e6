"""A slide's µm/px: of what the file states and what a person gives, which counts; and whether it is fine enough for the views.

Axes may differ a little: every reader of a slide uses each axis with its own µm/px. By more they do not, in real scanners:
then one of the two was never filled in.
"""

from mlseg_core.errors import UserError

SAME = 0.02
"""A given µm/px may differ so much from the file's, as a share; more is a mistake in one of them."""
SQUARE = 0.05
"""The file's two axes may differ so much, as a share of the smaller."""
COARSEST = 1.5
"""A slide may be at most so much coarser than the high view, in µm/px."""
_SENSIBLE = (0.01, 100.0)  # µm/px


class ScaleUnknown(UserError):
    """Nobody says the slide's µm/px, or the file says something that cannot be."""


class ScaleConflict(UserError):
    """The file and the person say different µm/px."""


def level0_mpp(
    stated: tuple[float, float] | None, given: float | None, override: bool, where: object
) -> tuple[float, float]:
    """Level-0 µm/px (x, y). stated: by the file; given: by the slide table or on the command line.

    override: the person says that the file is wrong. Raises ScaleUnknown, ScaleConflict.
    """
    sensible = stated is not None and all(_SENSIBLE[0] < value < _SENSIBLE[1] for value in stated)
    if given is not None and not _SENSIBLE[0] < given < _SENSIBLE[1]:
        raise ScaleUnknown(
            f"{given:g} µm/px was given, which no microscope has",
            where,
            "Give µm/px, about 0.25 at 40× and 0.5 at 20×.",
        )
    if given is not None:
        if stated is not None and sensible and not override and any(abs(given / value - 1) > SAME for value in stated):
            raise ScaleConflict(
                f"{given:g} µm/px was given, but the file states {_said(stated)} µm/px",
                where,
                "Correct column mpp of the slide table or leave it empty; if the file is wrong, set mpp_override to yes.",
            )
        return given, given
    if stated is None or not sensible:
        raise ScaleUnknown("the slide does not say its µm/px", where, "Fill in column mpp of the slide table.")
    if max(stated) > (1 + SQUARE) * min(stated):
        raise ScaleUnknown(
            f"the slide's pixels are not square: {stated[0]:g} µm/px across, {stated[1]:g} µm/px down",
            where,
            "Fill in columns mpp and mpp_override of the slide table.",
        )
    return stated


def check_fine_enough(mpp: tuple[float, float], high_mpp: float, where: object, who: str = "the high view") -> None:
    """Raises UserError for a slide so coarse that its patches would be enlarged, not cut. who: what wants `high_mpp`."""
    if max(mpp) > COARSEST * high_mpp:
        raise UserError(
            f"the slide has {max(mpp):.3g} µm/px and {who} wants {high_mpp:g}",
            where,
            f"Use a slide scanned at a higher magnification, or {_instead(who)} for this one.",
        )


def _instead(who: str) -> str:
    return "a network trained" if who == "the network" else "a coarser high_mpp"


def _said(mpp: tuple[float, float]) -> str:
    return f"{mpp[0]:g}" if abs(mpp[0] / mpp[1] - 1) < 1e-3 else f"{mpp[0]:g} × {mpp[1]:g}"
