"""What recipe 6 cuts in another way than recipe 5 did, slide by slide: for `regenerate`, which asks before it cuts again.

In: a slide that recipe 5 cut and that has not changed since. Out: one reason for each correction that concerns it.
"""

from collections.abc import Iterator

from mlseg_core.errors import UserError
from shards.build.inputs import took_value_for_name
from shards.config import ShardsConfig
from shards.slide_table import Slide


def corrections(config: ShardsConfig, slide: Slide) -> list[str]:
    """Why the slide would give other shards today. It opens the slide and its annotation."""
    try:
        return list(_concerning(config, slide))
    except UserError as error:
        return [f"it would be refused today: {error}"]


def _concerning(config: ShardsConfig, slide: Slide) -> Iterator[str]:
    if took_value_for_name(config, slide):
        yield "edits of its class map may have been missed: it has a class that is named like a value in mask_classes"
