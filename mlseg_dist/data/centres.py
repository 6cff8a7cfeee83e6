"""Centre patches with human labels, read ahead in batches: what evaluation scores a network on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from mlseg_dist.data.views import Views, centre_views

Item = TypeVar("Item")
_NAMES = tuple(Views.__dataclass_fields__)


@dataclass(frozen=True)
class Centres:
    """The pairs `refs` as uint8: high, low (B, P, P, 3); training classes high_label, low_label, fine ids high_fine (B, P, P)."""

    refs: Sequence[PairRef]
    high: torch.Tensor
    low: torch.Tensor
    high_label: torch.Tensor
    low_label: torch.Tensor
    high_fine: torch.Tensor

    def arrays(self) -> Views:
        """The same memory as numpy arrays (B, ...)."""
        return Views(*(getattr(self, name).numpy() for name in _NAMES))

    def views(self, position: int) -> Views:
        """Those of one pair."""
        return Views(*(getattr(self, name)[position].numpy() for name in _NAMES))


def read_centres(
    corpus: Corpus, parts: Iterable[Sequence[PairRef]], patch_px: int, threads: int, *, pinned: bool, ahead: int = 2
) -> ReadAhead[Sequence[PairRef], Centres, None]:
    """The patches of each part, in order; a thread that cannot read a pair raises BadPair. pinned: for a GPU."""

    def begin(refs: Sequence[PairRef]) -> Work[Centres, None]:
        label = (len(refs), patch_px, patch_px)
        image = (*label, 3)
        memory = batch_memory(pinned, high=image, low=image, high_label=label, low_label=label, high_fine=label)
        rows = {name: memory[name].numpy() for name in _NAMES}
        return Work(Centres(refs, **memory), [partial(read, rows, i, ref) for i, ref in enumerate(refs)])

    def read(rows: dict[str, np.ndarray], position: int, ref: PairRef) -> None:
        views = centre_views(corpus, ref, patch_px)
        for name in _NAMES:
            rows[name][position] = getattr(views, name)

    return ReadAhead(parts, begin, threads, ahead, name="centres")


def parts_of(items: Sequence[Item], size: int, rank: int = 0, ranks: int = 1) -> Iterator[Sequence[Item]]:
    """Batches of `size` items (pairs, or their numbers), every `ranks`-th of them from the `rank`-th on: one rank's share."""
    for first in range(rank * size, len(items), ranks * size):
        yield items[first : first + size]
