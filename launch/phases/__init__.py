"""The kinds of phases: what each depends on, what it publishes and which functions do its work.

kind   what every kind says of itself      cut    slides and shards       learn     generators, styled views, labels, training
judge  evaluation and report                                              registry  from a phase to its kind and its resources

Raise a kind's `recipe_version` by hand when its results change for the same inputs.
"""

from launch.phases.cut import slide_maker, slide_table
from launch.phases.kind import Control, Kind, MapKind, MapWork, WholeKind
from launch.phases.registry import KINDS, block_of, job_of, kind_of

__all__ = [
    "KINDS",
    "Control",
    "Kind",
    "MapKind",
    "MapWork",
    "WholeKind",
    "block_of",
    "job_of",
    "kind_of",
    "slide_maker",
    "slide_table",
]
