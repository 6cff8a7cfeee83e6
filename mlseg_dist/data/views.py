"""Both views of a pair as arrays, with labels in training classes; the centre patches with human labels, read ahead in batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from mlseg_dist.config import IGNORED
from mlseg_dist.data import labels
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.labels import VIEWS, ViewName
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from shards.annotation import EXCLUDED_PX
from shards.sample import decode_label, decode_rgb


@dataclass(frozen=True)
class Views:
    """high, low: uint8 (S, S, 3) RGB. high_label, low_label: uint8 (S, S) training classes. high_fine: fine ids."""

    high: np.ndarray
    low: np.ndarray
    high_label: np.ndarray
    low_label: np.ndarray
    high_fine: np.ndarray


def stored_views(corpus: Corpus, ref: PairRef, gan_style: float | None = None) -> Views:
    """The whole stored field. With a round of labels, what is accepted of it fills what people left open.

    gan_style: as drawn; both images come from that styled sidecar.
    """
    members = corpus.read_styled(ref, gan_style)
    fine = {view: decode_label(members[f"{view}.png"]) for view in VIEWS}
    label = joined_labels(corpus, ref, fine)
    return Views(
        decode_rgb(members["high.jpg"]), decode_rgb(members["low.jpg"]), label["high"], label["low"], fine["high"]
    )


def joined_labels(corpus: Corpus, ref: PairRef, fine: Mapping[ViewName, np.ndarray]) -> dict[ViewName, np.ndarray]:
    """View -> uint8 (S, S) training classes: of people, and where they left it open what is accepted of the sidecar.

    fine: view -> fine ids of humans. Where the corpus leaves people's labels out, a pair with a sidecar has the sidecar's alone.
    """
    return filled_labels(fine, corpus.read_sidecar(ref), corpus.training_class_of, corpus.accepted, corpus.people)


def filled_labels(
    fine: Mapping[ViewName, np.ndarray],
    sidecar: Mapping[str, bytes] | None,
    training_class_of: np.ndarray,
    accepted: Mapping[ViewName, np.ndarray],
    people: bool,
) -> dict[ViewName, np.ndarray]:
    """joined_labels, of what was read; what people excluded is IGNORED.

    sidecar: its members, None where a pair has none. accepted, people: see Corpus.
    """
    known = training_class_of if people or sidecar is None else np.full(256, IGNORED, np.uint8)
    if sidecar is None:
        return {view: known[human] for view, human in fine.items()}
    found = {}
    for view, human in fine.items():
        joined = labels.join(known[human], decode_label(sidecar[f"{view}.png"]), accepted[view])
        joined[human == EXCLUDED_PX] = IGNORED  # to the pixel; a round knows cells of its stride
        found[view] = joined
    return found


def centre_views(corpus: Corpus, ref: PairRef, patch_px: int) -> Views:
    """The centre patch with human labels only: what validation and evaluation see."""
    views = stored_views(corpus, ref)
    edge = (views.high.shape[0] - patch_px) // 2
    part = slice(edge, edge + patch_px)
    return Views(*(getattr(views, name)[part, part] for name in Views.__dataclass_fields__))


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
