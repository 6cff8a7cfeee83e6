"""How a run evaluates its teachers, as a bundle records it: with equal settings and slides, figures are equal. Loads no torch."""

from typing import Annotated

from pydantic import Field

from mlseg_core.config import Strict
from mlseg_dist.config import Count, Positive


class EvaluationFacts(Strict):
    """seed: of the intervals' resamples. view_px, overlap, boundary_um: as in the campaign's `evaluate`.

    majority: number of the training class with most annotated px in the train split.
    """

    seed: int
    view_px: Count
    overlap: Annotated[float, Field(ge=0, le=0.75)]
    boundary_um: Positive
    majority: Annotated[int, Field(ge=0, le=2)]
