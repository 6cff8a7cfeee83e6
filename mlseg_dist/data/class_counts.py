"""How many pairs or pixels people gave to each training class, from a corpus' manifest. Torch-free."""

from collections.abc import Mapping
from typing import Literal

from mlseg_dist.config import CLASSES
from shards.manifest import Manifest


def class_counts(
    corpus: Manifest, training_classes: Mapping[str, int], split: str, part: Literal["seeds", "pixels"]
) -> dict[str, int]:
    """Training class -> pairs by their seed, or px of the high view, in a split. training_classes: fine class -> training class."""
    counted = dict.fromkeys(CLASSES, 0)
    for shard in corpus.of_splits(split):
        for fine, count in getattr(shard, part).items():
            number = training_classes.get(fine, len(CLASSES))
            if number < len(CLASSES):
                counted[CLASSES[number]] += count
    return counted
