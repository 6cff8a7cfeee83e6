"""Synthetic IHC slides: a config in; tiled pyramidal TIFFs, QuPath GeoJSON annotations and the slide table out.

Tumor and DCIS look the same at every place and differ only in structure wider than the high view (see lookalike).
"""

from shards.phantom.config import PhantomConfig
from shards.phantom.draw import draw
from shards.phantom.table import units, write_table

__all__ = ["PhantomConfig", "draw", "units", "write_table"]
