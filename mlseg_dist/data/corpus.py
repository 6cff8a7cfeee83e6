"""A corpus of pairs, with a round of sidecar labels, and styled images, joined by key.

Drawing class of a pair: the human class at its seed; for unannotated pairs what the round's teacher
accepted there; a pair without either is not drawn, and counted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.cache import ShardCache, ShardFile
from mlseg_dist.data.labels import VIEWS, ViewName, of_round
from mlseg_dist.data.open_shards import OpenShards
from mlseg_dist.data.order import Pools
from mlseg_dist.data.styled import Styled
from shards.manifest import Manifest, ShardEntry, read_manifest, read_seeds
from shards.tar import BadShard, ShardReader

_PAIRS_AT_ONCE = 1 << 20
"""A corpus may have a hundred million; intermediate results for so many at once fit a processor's cache."""


@dataclass(frozen=True)
class PairRef:
    """Where a pair lies: shard number in the manifest, row in the shard."""

    shard: int
    row: int
    key: str
    slide: str
    split: str


class BadPair(BadShard):
    """A pair, or its sidecar, cannot be read: damaged or missing. Names shard and key."""


class Corpus:
    """Pairs of `folder/manifest.json`; labels: folder of a round's sidecars, or None; styled: of styled sidecars, or None.

    people: whether their labels of the train split count, or only the round's do.
    training_classes: fine class -> 0, 1, 2 or 255. Opening it reads manifests and seeds; shards are opened when first
    read, a bounded number at a time. Pairs are numbered in the manifest's order. Any thread may read.
    """

    def __init__(
        self,
        folder: Path,
        training_classes: Mapping[str, int],
        labels: Path | None = None,
        styled: Path | None = None,
        people: bool = True,
    ) -> None:
        self.folder, self.labels_folder, self.people = folder, labels, people
        self.manifest = read_manifest(folder / "manifest.json")
        self.training_class_of = class_table(self.manifest.classes, training_classes)
        self.first = _starts(self.manifest.shards)
        """int64 (shards + 1,): number of each shard's first pair."""
        self.round: Manifest | None = None
        self.accepted: dict[ViewName, np.ndarray] = {}
        """View -> code of a sidecar -> accepted class, or 255, uint8 (256,)."""
        self._sidecar_of: dict[str, ShardEntry] = {}
        if labels is not None:
            self.round = read_manifest(labels / "manifest.json")
            if self.round.parents.get("corpus") != sha256_file(folder / "manifest.json"):
                raise UserError("the labels were made for another corpus", labels / "manifest.json", "Label again.")
            accepting = of_round(self.round.facts)
            self.accepted = {view: accepting.table(view) for view in VIEWS}
            self._sidecar_of = {shard.of: shard for shard in self.round.shards}
        self.styled = Styled(styled, folder) if styled is not None else None
        self.open = OpenShards()
        self.cache: ShardCache | None = None
        self._told: dict[int, tuple[Sequence[int], Sequence[int]]] = {}

    def use_cache(self, folder: Path, budget_bytes: int) -> None:
        """Read through node-local copies of shards (cache.py)."""
        self.cache = ShardCache(folder, budget_bytes, lambda: self.open.forget_gone(folder))

    def prefetch(self, lane: int, now: Sequence[int], ahead: Sequence[int]) -> None:
        """Tell the cache, if any, which shards a lane reads from now on, and after that."""
        if self.cache is not None and self._told.get(lane) != (now, ahead):
            self._told[lane] = (now, ahead)
            self.cache.want(lane, *([s for number in part for s in self._sources(number)] for part in (now, ahead)))

    def refs(self, *splits: str) -> list[PairRef]:
        """All pairs of the splits, in the manifest's order. Reads their indices."""
        return self.refs_in(number for number, shard in enumerate(self.manifest.shards) if shard.split in splits)

    def refs_in(self, shards: Iterable[int]) -> list[PairRef]:
        """All pairs of the shards with these numbers in the manifest. Reads their indices."""
        refs = []
        for number in shards:
            shard = self.manifest.shards[number]
            with ShardReader(self.folder / shard.name, self.manifest.members) as reader:
                keys = reader.index["key"]
            refs += [PairRef(number, row, key.decode(), shard.slide, shard.split) for row, key in enumerate(keys)]
        return refs

    def numbers(self, *splits: str) -> np.ndarray:
        """Numbers of all pairs of the splits, ascending."""
        parts = [
            np.arange(self.first[i], self.first[i + 1]) for i, s in enumerate(self.manifest.shards) if s.split in splits
        ]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def ref(self, number: int) -> PairRef:
        """The pair of that number. Raises BadPair."""
        position, row = self._row(number)
        shard = self.manifest.shards[position]
        try:
            with self.open.using(self.folder / shard.name, self.manifest.members) as reader:
                return PairRef(position, row, reader.key(row), shard.slide, shard.split)
        except (BadShard, OSError) as error:
            raise BadPair(f"{error} (pair in row {row})") from error

    def read(self, ref: PairRef, wanted: Collection[str] | None = None) -> dict[str, bytes]:
        """Members of a pair (wanted: only those), each checked against its crc32c. Raises BadPair."""
        return self._read(ShardFile(self.folder, self.manifest.shards[ref.shard]), self.manifest.members, ref, wanted)[
            1
        ]

    def read_styled(self, ref: PairRef, drawn: float | None) -> dict[str, bytes]:
        """read, with images of the styled sidecar that `drawn` says (draw.gan_style); None, or a shard without one: as stored."""
        shard = self.manifest.shards[ref.shard].name
        source = self.styled.source(shard, drawn) if self.styled is not None and drawn is not None else None
        if source is None or self.styled is None:
            return self.read(ref)
        own = ShardFile(self.folder, self.manifest.shards[ref.shard])
        images = self.styled.images
        members = self._read(own, self.manifest.members, ref, set(self.manifest.members) - set(images))[1]
        key, styled = self._read(source, self.styled.manifest.members, ref, set(images))
        if key != ref.key:
            raise UserError(f"styled sidecar row {ref.row} is {key}, not {ref.key}", source.path, "Style it again.")
        return members | styled

    def read_sidecar(self, ref: PairRef) -> dict[str, bytes] | None:
        """Members of the pair's sidecar, or None: no round, or not a pair of the train split. Raises BadPair."""
        sidecar = self._sidecar_of.get(self.manifest.shards[ref.shard].name)
        if sidecar is None or self.round is None or self.labels_folder is None:
            return None
        source = ShardFile(self.labels_folder, sidecar)
        key, members = self._read(source, self.round.members, ref)
        if key != ref.key:
            raise UserError(f"sidecar row {ref.row} is {key}, not {ref.key}", source.path, "Label again.")
        return members

    def _read(
        self, source: ShardFile, members: tuple[str, ...], ref: PairRef, wanted: Collection[str] | None = None
    ) -> tuple[str, dict[str, bytes]]:
        """Key and wanted members (None: all): from the copy if there is a whole one, else where it lies, tried twice."""
        copy = self.cache.copy_of(source) if self.cache is not None else None
        if copy is not None and self.cache is not None:
            try:
                return self._members(copy, members, ref.row, wanted)
            except (BadShard, OSError):
                if copy.exists():  # else another rank has just removed it
                    self.cache.drop(source)
                self.open.forget(copy)
        try:
            return self._members(source.path, members, ref.row, wanted)
        except (BadShard, OSError):
            self.open.forget(source.path)  # a stale handle of a network file system is made anew
        try:
            return self._members(source.path, members, ref.row, wanted)
        except (BadShard, OSError) as error:
            told = str(error) if ref.key in str(error) else f"{source.path}: {ref.key}: {error}"
            raise BadPair(told) from error

    def _members(
        self, path: Path, members: tuple[str, ...], row: int, wanted: Collection[str] | None
    ) -> tuple[str, dict[str, bytes]]:
        with self.open.using(path, members) as reader:
            return reader.key(row), reader.read(row, wanted)

    def _row(self, number: int) -> tuple[int, int]:
        """Shard and row of a pair."""
        shard = int(np.searchsorted(self.first, number, "right")) - 1
        return shard, int(number - self.first[shard])

    def _sources(self, shard: int) -> list[ShardFile]:
        """A shard and its sidecar, if any."""
        entry = self.manifest.shards[shard]
        sidecar = self._sidecar_of.get(entry.name)
        sources = [ShardFile(self.folder, entry)]
        return (
            sources
            if sidecar is None or self.labels_folder is None
            else [*sources, ShardFile(self.labels_folder, sidecar)]
        )

    @cached_property
    def drawing_classes(self) -> np.ndarray:
        """uint8 (pairs,): class that a pair is drawn for: 0, 1, 2, or 255 (not drawn; not of the train split)."""
        seeds = read_seeds(self.folder, self.manifest)
        if self.round is None or self.labels_folder is None:
            classes = np.full(len(seeds), IGNORED, np.uint8)
        else:
            classes = self._accepted(read_seeds(self.labels_folder, self.round), len(seeds))
        for first in range(0, len(seeds), _PAIRS_AT_ONCE):
            part = slice(first, first + _PAIRS_AT_ONCE)
            if self.people:
                human, unannotated = self.training_class_of[seeds[part]], seeds[part] == IGNORED
                classes[part] = np.where(unannotated, classes[part], human)
        for position, shard in enumerate(self.manifest.shards):
            if shard.split != "train":
                classes[self.first[position] : self.first[position + 1]] = IGNORED
        return classes

    def _accepted(self, of_round: np.ndarray, pairs: int) -> np.ndarray:
        """What the round says of each seed of the train split, in the corpus's order; anything for other splits.

        Raises UserError when a shard is not labelled.
        """
        accepted = np.empty(pairs, np.uint8)
        assert self.round is not None
        starts = dict(zip((shard.of for shard in self.round.shards), _starts(self.round.shards), strict=False))
        for position, shard in enumerate(self.manifest.shards):
            if shard.split == "train":
                if shard.name not in starts or self._sidecar_of[shard.name].samples != shard.samples:
                    raise UserError(f"the round does not label {shard.name}", self.labels_folder or "", "Label again.")
                part = of_round[starts[shard.name] :][: shard.samples]
                accepted[self.first[position] : self.first[position + 1]] = part
        return accepted

    def pools(self) -> Pools:
        """What the train split holds for each class. Raises UserError when a class has none."""
        rows = {row.slug: (row.stain, row.scanner) for row in self.manifest.slides}
        slides = [shard.slide for shard in self.manifest.shards]
        strata = [str(rows.get(slide)) for slide in slides]
        pools = Pools(self.drawing_classes, self.first, _numbered(slides), _numbered(strata))
        empty = [CLASSES[c] for c, size in enumerate(pools.sizes) if not size]
        if empty:
            raise UserError(
                f"no pair of the train split to draw for class {', '.join(empty)}",
                self.folder / "manifest.json",
                "Annotate some, or check annotation_classes and training_classes.",
            )
        return pools


def _starts(shards: Sequence[ShardEntry]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([shard.samples for shard in shards], dtype=np.int64)])


def _numbered(names: Sequence[str]) -> np.ndarray:
    """A small number for each different name."""
    return np.unique(np.array(names, str), return_inverse=True)[1].astype(np.int64)


def class_table(fine_classes: tuple[str, ...], training_classes: Mapping[str, int]) -> np.ndarray:
    """Look-up table uint8 (256,): fine id -> training class; what is excluded (254) or unlabelled (255) is ignored."""
    table = np.full(256, IGNORED, np.uint8)
    for number, name in enumerate(fine_classes):
        table[number] = training_classes[name]
    return table
