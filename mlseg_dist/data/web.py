"""Pairs of a corpus as a webdataset pipeline, for training loops of your own (docs/web.md).

In: a folder or URL of shards, perhaps a round of labels. Out: wds.DataPipeline of samples, decoded, with labels joined by key.
Shards come in an order that depends on seed and epoch, are dealt to the nodes and then to the workers by webdataset's own
functions, and are read as streams. Only shards that the manifest names are read, and every member is compared with its crc32c.
"""

import hashlib
import random
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import torch
import webdataset as wds
from webdataset.tariterators import group_by_keys, tar_file_expander

from mlseg_core.errors import UserError
from mlseg_core.randomness import integer_seed
from mlseg_core.store import Store, open_store
from mlseg_core.store.folder import Folder
from mlseg_dist.data.corpus import class_table
from mlseg_dist.data.labels import VIEWS, Accepting, ViewName, of_round
from mlseg_dist.data.views import filled_labels
from shards.manifest import Manifest, ShardEntry, parse_manifest
from shards.sample import decode_label, decode_rgb
from shards.tar import BadShard, ShardReader

SPLITS = ("train", "val", "test", "dev-unseen")
_COPY_BYTES = 8 << 20
_VERIFY = "Compare with: mlseg shards verify."
Sample = dict[str, Any]


def web_dataset(
    shards: Path | str,
    training_classes: Mapping[str, int],
    labels: Path | str | None = None,
    splits: Sequence[str] = ("train",),
    seed: int | None = 0,
    shuffle: int = 100,
    people: bool = True,
    accepting: Accepting | None = None,
) -> "WebPairs":
    """Samples of some splits, each once an epoch over all nodes and workers.

    A sample is a dict: `high`, `low`: uint8 (S, S, 3) RGB, the whole stored field; `high_label`, `low_label`: uint8 (S, S)
    training classes, 255 = unlabelled; `slide`: its name in keys; and webdataset's `__key__` and `__url__` (the shard's name).

    shards, labels: folder, or a URL that fsspec opens, of a corpus and of a round of labels made for it.
    training_classes: fine class -> 0, 1, 2 or 255. seed: of the order; None: the manifest's order, nothing is shuffled.
    shuffle: undecoded samples that a worker shuffles among; 0: only shards are shuffled. people: whether their labels of pairs
    with a sidecar count. accepting: thresholds of the teacher's labels; None: those of the round.

    Raises UserError for manifests that do not fit, for a shard that is missing or has another size, and for a split that is not
    one of SPLITS: `final-unseen` is opened by `mlseg evaluate`, which records it. A worker raises BadShard for what is damaged.
    """
    for split in splits:
        if split not in SPLITS:
            raise UserError(f"there is no split {split!r} to read", "splits", f"Choose among {', '.join(SPLITS)}.")
    corpus = _Place.open(shards, "corpus")
    entries = corpus.manifest.of_splits(*splits)
    if not entries:
        raise UserError(f"it has no shard of {', '.join(splits)}", corpus.where, "Name other splits.")
    corpus.require(entries)
    unknown = sorted(set(corpus.manifest.classes) - set(training_classes))
    if unknown:
        raise UserError(
            f"no training class for {', '.join(unknown)} of {corpus.where}", "training_classes", "Add them."
        )
    sidecars = _Sidecars.none() if labels is None else _Sidecars.open(labels, corpus, entries, accepting)
    reading = _Reading(corpus, {entry.name: entry for entry in entries}, sidecars)
    decoding = _Decoding(class_table(corpus.manifest.classes, training_classes), sidecars.accepted, people)
    order = _Order([entry.name for entry in entries], seed, shuffle)
    return WebPairs(order, reading, decoding, sum(entry.samples for entry in entries))


class WebPairs(wds.DataPipeline, wds.FluidInterface):
    """What web_dataset makes. `map`, `batched`, `with_epoch`, … are webdataset's. samples: of an epoch, over all nodes."""

    def __init__(self, order: "_Order", reading: "_Reading", decoding: "_Decoding", samples: int) -> None:
        super().__init__(order, wds.split_by_node, wds.split_by_worker, reading, order.shuffled, wds.map(decoding))
        self.samples = samples
        self._order = order

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch, before the loader is iterated; its workers may be running already.

        Without it, the order of an epoch follows from how often this object was iterated in its process, and a DataLoader
        without persistent workers repeats the first one.
        """
        self._order.set_epoch(epoch)


@dataclass(frozen=True)
class _Place:
    """A manifest and where it lies. where: for people, without credentials. sha256: of the manifest's file."""

    address: str
    where: str
    manifest: Manifest
    sha256: str

    @classmethod
    def open(cls, address: Path | str, kind: str) -> Self:
        with open_store(address) as store:
            where, path = store.where, f"{store.where}/manifest.json"
            try:
                data = store.read("manifest.json")
            except OSError as error:
                raise UserError(
                    f"cannot be read ({error.strerror or error})", path, "Name a folder of shards."
                ) from None
        manifest = parse_manifest(data, path)
        if manifest.kind != kind:
            raise UserError(f"is a manifest of {manifest.kind}, not of {kind}", path, f"Name the folder of {kind}.")
        return cls(str(address), where, manifest, hashlib.sha256(data).hexdigest())

    def require(self, entries: Sequence[ShardEntry]) -> None:
        """Raises UserError unless all of these shards are there with the manifest's sizes."""
        with open_store(self.address) as store:
            sizes = store.sizes(wanted={entry.name for entry in entries})
        for entry in entries:
            size = sizes.get(entry.name)
            if size != entry.bytes:
                found = (
                    "is missing" if size is None else f"has {size} bytes, not the {entry.bytes} that the manifest says"
                )
                raise UserError(f"{entry.name} {found}", self.where, _VERIFY)


@dataclass(frozen=True)
class _Sidecars:
    """A round of labels. of: name of a shard -> its sidecar. accepted: view -> code -> class, see Accepting.table."""

    place: _Place | None
    of: Mapping[str, ShardEntry]
    accepted: Mapping[ViewName, np.ndarray]

    @classmethod
    def none(cls) -> Self:
        return cls(None, {}, {})

    @classmethod
    def open(
        cls, address: Path | str, corpus: _Place, entries: Sequence[ShardEntry], accepting: Accepting | None
    ) -> Self:
        """The sidecars of these shards; every shard of the train split must have one. Raises UserError."""
        place = _Place.open(address, "labels")
        if place.manifest.parents.get("corpus") != corpus.sha256:
            raise UserError("the labels were made for another corpus", f"{place.where}/manifest.json", "Label again.")
        known = {entry.of: entry for entry in place.manifest.shards}
        of = {entry.name: known[entry.name] for entry in entries if entry.name in known}
        for entry in entries:
            if entry.split == "train" and (entry.name not in of or of[entry.name].samples != entry.samples):
                raise UserError(f"the round does not label {entry.name}", place.where, "Label again.")
        place.require(list(of.values()))
        chosen = accepting or of_round(place.manifest.facts)
        return cls(place, of, {view: chosen.table(view) for view in VIEWS})


class _Order(torch.utils.data.IterableDataset):
    """First stage: names of shards in the order of an epoch; and the shuffling of samples with the same seed."""

    def __init__(self, names: Sequence[str], seed: int | None, shuffle: int) -> None:
        self._names, self._seed, self._shuffle = list(names), seed, shuffle
        # Epoch, and how often it was set. Shared: workers that run already see it change.
        self._set = torch.zeros(2, dtype=torch.int64).share_memory_()
        self._seen, self._turn = [-1, -1], 0
        self._key: int | None = None

    def set_epoch(self, epoch: int) -> None:
        self._set[0] = epoch
        self._set[1] += 1

    def __iter__(self) -> Iterator[dict[str, str]]:
        now = self._set.tolist()
        self._turn = self._turn + 1 if now == self._seen else 0
        self._seen = now
        if self._seed is not None:
            self._key = integer_seed(self._seed, "web", now[0], self._turn)
        return iter(wds.SimpleShardList(self._names, seed=self._key))

    def shuffled(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        """A later stage: samples, each once, from a buffer that is filled before the first is given."""
        if self._key is None or not self._shuffle:
            return samples
        mixed: Callable[[Iterator[Sample]], Iterator[Sample]] = wds.shuffle(
            self._shuffle, initial=self._shuffle, rng=random.Random(self._key)
        )
        return mixed(samples)


@dataclass(frozen=True)
class _Reading:
    """Stage: shards -> samples of undecoded members; a sidecar's under `sidecar`. entries: name -> shard."""

    corpus: _Place
    entries: Mapping[str, ShardEntry]
    sidecars: _Sidecars

    def __call__(self, sources: Iterator[dict[str, str]]) -> Iterator[Sample]:
        for source in sources:
            entry = self.entries[source["url"]]
            with ExitStack() as stack:
                file, shard = stack.enter_context(_opened(self.corpus, entry))
                sidecar, its_entry = None, self.sidecars.of.get(entry.name)
                if its_entry is not None and self.sidecars.place is not None:
                    _, sidecar = stack.enter_context(_opened(self.sidecars.place, its_entry))
                for row, sample in enumerate(_checked(file, shard, entry)):
                    sample["slide"] = entry.slide
                    if sidecar is not None:
                        if sidecar.key(row) != sample["__key__"]:
                            raise BadShard(f"{sidecar.path}: row {row} is {sidecar.key(row)}, not {sample['__key__']}")
                        sample["sidecar"] = sidecar.read(row)
                    yield sample


@dataclass(frozen=True)
class _Decoding:
    """Last stage: members -> arrays, labels joined as in training."""

    training_class_of: np.ndarray
    accepted: Mapping[ViewName, np.ndarray]
    people: bool

    def __call__(self, sample: Sample) -> Sample:
        fine = {view: decode_label(sample[f"{view}.png"]) for view in VIEWS}
        label = filled_labels(fine, sample.get("sidecar"), self.training_class_of, self.accepted, self.people)
        return {
            **{name: sample[name] for name in ("__key__", "__url__", "slide")},
            **{view: decode_rgb(sample[f"{view}.jpg"]) for view in VIEWS},
            **{f"{view}_label": label[view] for view in VIEWS},
        }


@contextmanager
def _opened(place: _Place, entry: ShardEntry) -> Iterator[tuple[BinaryIO, ShardReader]]:
    """The tar as a stream, and its checked index. Raises BadShard unless both are the manifest's."""
    path = Path(f"{place.where}/{entry.name}")
    with open_store(place.address) as store, ExitStack() as stack:
        try:
            file = stack.enter_context(_local(store, entry.name))
        except OSError as error:
            raise BadShard(f"{path}: cannot be read ({error.strerror or error})") from None
        shard = stack.enter_context(ShardReader(path, place.manifest.members, file))
        if shard.index_sha256 != entry.index_sha256 or len(shard.index) != entry.samples:
            raise BadShard(f"{path}: its index is not the manifest's")
        yield file, shard


@contextmanager
def _local(store: Store, name: str) -> Iterator[BinaryIO]:
    """A shard as a file of this machine: of an object store a copy, which is gone when it is closed."""
    with store.open(name) as source:
        if isinstance(store, Folder):
            yield source
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
            copy.seek(0)
            yield copy


def _checked(file: BinaryIO, shard: ShardReader, entry: ShardEntry) -> Iterator[Sample]:
    """Samples as webdataset reads them, each compared with the index. Raises BadShard."""
    files = tar_file_expander([{"url": entry.name, "stream": file}])
    samples, wanted, row = group_by_keys(files, suffixes=set(shard.members)), {"__key__", "__url__", *shard.members}, 0
    while True:
        try:
            sample = next(samples, None)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise BadShard(f"{shard.path}: is damaged after {row} samples ({error.args[0]})") from None
        if sample is None:
            break
        if row == len(shard) or sample["__key__"] != shard.key(row) or sample.keys() != wanted:
            raise BadShard(f"{shard.path}: sample {row} ({sample['__key__']}) is not what the index says")
        shard.check(row, sample)
        yield sample
        row += 1
    if row != len(shard):
        raise BadShard(f"{shard.path}: ends after {row} of {len(shard)} samples")
