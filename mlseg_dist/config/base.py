"""What all configs of learning share: types of numbers, the training classes, splits and factors."""

from typing import Annotated, Literal

from pydantic import Field

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

CLASSES = ("background", "tumour", "others")
"""Training classes 0, 1, 2."""
IGNORED = 255
HELD_OUT = ("test", "dev-unseen", "final-unseen")
"""Splits that choose nothing, in the order in which they are shown."""
ViewName = Literal["high", "low"]
VIEWS: tuple[ViewName, ...] = ("high", "low")
"""The two resolutions in which a pair shows a place."""
FACTORS = ("stain", "scanner", "source")
"""Columns of the slide table by which figures are grouped into domains."""
