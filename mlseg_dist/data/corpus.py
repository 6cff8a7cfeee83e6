"""A corpus of pairs, with a round of sidecar labels joined by key.

Drawing class of a pair (SPEC §1): the human class at its seed; for unannotated pairs what the round's teacher
accepted there; a pair without either is not drawn, and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import CLASSES, IGNORED
from shards.manifest import Manifest, ShardEntry, read_manifest
from shards.tar import ShardReader, index_path


@dataclass(frozen=True)
class PairRef:
    """Where a pair lies: shard number in the manifest, row in the shard."""

    shard: int
    row: int
    key: str
    slide: str
    split: str


class Corpus:
    """Pairs of `folder/manifest.json`; labels: folder of a round's sidecars, or None.

    training_classes: fine class -> 0, 1, 2 or 255. Shards are opened when first read and stay open.
    """

    def __init__(self, folder: Path, training_classes: Mapping[str, int], labels: Path | None = None) -> None:
        self.folder, self.labels_folder = folder, labels
        self.manifest = read_manifest(folder / "manifest.json")
        self.training_class_of = class_table(self.manifest.classes, training_classes)
        self.round: Manifest | None = None
        self._sidecar_of: dict[str, ShardEntry] = {}
        if labels is not None:
            self.round = read_manifest(labels / "manifest.json")
            if self.round.parents.get("corpus") != sha256_file(folder / "manifest.json"):
                raise UserError("the labels were made for another corpus", labels / "manifest.json", "Label again.")
            self._sidecar_of = {shard.of: shard for shard in self.round.shards}
        self._readers: dict[Path, ShardReader] = {}

    def refs(self, *splits: str) -> list[PairRef]:
        """All pairs of the splits, in the manifest's order."""
        refs = []
        for number, shard in enumerate(self.manifest.shards):
            if shard.split in splits:
                keys = np.load(index_path(self.folder / shard.name), allow_pickle=False)["key"]
                refs += [PairRef(number, row, key.decode(), shard.slide, shard.split) for row, key in enumerate(keys)]
        return refs

    def read(self, ref: PairRef) -> dict[str, bytes]:
        """Members of a pair, each checked against its crc32c."""
        return self._reader(self.folder / self.manifest.shards[ref.shard].name, self.manifest.members).read(ref.row)

    def read_sidecar(self, ref: PairRef) -> dict[str, bytes] | None:
        """Members of the pair's sidecar, or None: no round, or not a pair of the train split."""
        sidecar = self._sidecar_of.get(self.manifest.shards[ref.shard].name)
        if sidecar is None or self.round is None or self.labels_folder is None:
            return None
        reader = self._reader(self.labels_folder / sidecar.name, self.round.members)
        if reader.key(ref.row) != ref.key:
            raise UserError(
                f"sidecar row {ref.row} is {reader.key(ref.row)}, not {ref.key}", reader.path, "Label again."
            )
        return reader.read(ref.row)

    def _reader(self, path: Path, members: tuple[str, ...]) -> ShardReader:
        reader = self._readers.get(path)
        if reader is None:
            reader = self._readers.setdefault(path, ShardReader(path, members))
        return reader

    @cached_property
    def drawing_classes(self) -> tuple[list[PairRef], np.ndarray]:
        """Pairs of the train split and the class that each is drawn for: 0, 1, 2, or 255 (not drawn)."""
        refs = self.refs("train")
        human, predicted = [], []
        for shard in self.manifest.of_splits("train"):
            seeds = np.load(index_path(self.folder / shard.name), allow_pickle=False)["seed"]
            human.append(self.training_class_of[seeds])
            if self.round is None or self.labels_folder is None:
                predicted.append(np.full(len(seeds), IGNORED, np.uint8))
            else:
                sidecar = self.labels_folder / self._sidecar_of[shard.name].name
                accepted = np.load(index_path(sidecar), allow_pickle=False)["seed"]
                predicted.append(np.where(seeds == IGNORED, accepted, IGNORED).astype(np.uint8))
        by_human, by_teacher = np.concatenate(human), np.concatenate(predicted)
        return refs, np.where(by_human != IGNORED, by_human, by_teacher)

    def pools(self) -> dict[int, list[PairRef]]:
        """Training class -> the pairs drawn for it. Raises UserError when a class has none."""
        refs, classes = self.drawing_classes
        pools = {c: [refs[i] for i in np.flatnonzero(classes == c)] for c in range(len(CLASSES))}
        empty = [CLASSES[c] for c, pool in pools.items() if not pool]
        if empty:
            raise UserError(
                f"no pair of the train split to draw for class {', '.join(empty)}",
                self.folder / "manifest.json",
                "Annotate some, or check annotation_classes and training_classes.",
            )
        return pools


def class_table(fine_classes: tuple[str, ...], training_classes: Mapping[str, int]) -> np.ndarray:
    """Look-up table uint8 (256,): fine id -> training class; 255 stays 255."""
    table = np.full(256, IGNORED, np.uint8)
    for number, name in enumerate(fine_classes):
        table[number] = training_classes[name]
    return table
