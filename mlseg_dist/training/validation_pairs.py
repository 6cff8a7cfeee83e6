"""The pairs that validation scores: chosen from a split, sharing its labelled pixels, without those that are excluded."""

from functools import cached_property
from typing import Any

import numpy as np

from mlseg_dist.config import TrainConfig
from mlseg_dist.data.corpus import BadPair, Corpus, PairRef
from mlseg_dist.data.once import Once, centres_of, scales_of
from mlseg_dist.training.engine import World
from mlseg_dist.training.state.exclusions import Exclusions
from shards.tar import BadShard, ShardReader


class ValidationPairs:
    """The same on every rank. All patients of the split serve: to choose a step's teacher, its threshold and its temperature.

    Scored are all pairs of the split, or `train.max_validation_samples` of them, evenly spaced. Who owns a pixel is settled
    among the pairs that can be read, so a damaged pair's pixels are scored wherever another one shows them.
    """

    def __init__(self, corpus: Corpus, train: TrainConfig, world: World, split: str = "val") -> None:
        """All ranks call. Raises BadPair for what cannot be read, unless `train.bad_samples: exclude`; UserError."""
        self.corpus, self.patch_px = corpus, train.patch_px
        self.leaves_out = train.bad_samples == "exclude"
        numbers = chosen(corpus.numbers(split), train.max_validation_samples)
        self.exclusions = Exclusions(self, len(numbers), train, world, "validation")
        refs, bad = _opened(corpus, numbers)
        scales = scales_of(corpus, refs.values())
        bad |= {pair: scales.unreadable[ref.slide] for pair, ref in refs.items() if ref.slide in scales.unreadable}
        if bad and not self.leaves_out:
            raise BadPair(next(iter(bad.values())))
        self._unreadable = {pair: why for of_rank in world.from_all(bad) for pair, why in of_rank.items()}
        refs = {pair: ref for pair, ref in refs.items() if pair not in self._unreadable}
        self._refs = refs
        self._centres = dict(zip(refs, centres_of(corpus, list(refs.values()), scales), strict=True))
        self._excluded: frozenset[int] = frozenset()

    @property
    def excluded(self) -> frozenset[int]:
        """Numbers of the pairs that are not scored. Set it between two passes."""
        return self._excluded

    @excluded.setter
    def excluded(self, pairs: frozenset[int]) -> None:
        self._excluded = pairs
        self.__dict__.pop("once", None)

    @cached_property
    def once(self) -> Once:
        """The patches that are scored, and which pixels of each are its own."""
        pairs = self._readable
        centres = np.array([self._centres[pair] for pair in pairs], np.int64).reshape(-1, 2)
        return Once(self.corpus, [self._refs[pair] for pair in pairs], centres, self.patch_px)

    @property
    def _readable(self) -> list[int]:
        return [pair for pair in self._refs if pair not in self._excluded]

    @property
    def patients(self) -> int:
        """How many patients the scored slides come from."""
        patient_of = {slide.slug: slide.patient for slide in self.corpus.manifest.slides}
        return len({patient_of.get(slide, slide) for slide in {ref.slide for ref in self.once.refs}})

    def settle(self, bad: dict[int, str]) -> list[dict[str, Any]]:
        """All ranks call. bad: what this rank could not read in a pass, its place in once.refs -> why.

        Returns what is excluded from now on, for metrics.jsonl. Raises BadPair for more than `train.max_excluded` of the pairs.
        """
        if not self.leaves_out:
            return []
        self.exclusions.found(self._unreadable)
        if bad:
            pairs = self._readable
            self.exclusions.found({pairs[self.once.kept[place]]: why for place, why in bad.items()})
        return [{**record, "split": "val"} for record in self.exclusions.settle()]


def chosen(numbers: np.ndarray, most: int | None) -> np.ndarray:
    """All of the numbers, or `most` of them, evenly spaced."""
    if most is None or len(numbers) <= most:
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]


def _opened(corpus: Corpus, numbers: np.ndarray) -> tuple[dict[int, PairRef], dict[int, str]]:
    """Number -> its pair, and number -> why it cannot be found. Reads the index of each shard. numbers: ascending."""
    refs: dict[int, PairRef] = {}
    bad: dict[int, str] = {}
    for position in np.unique(np.searchsorted(corpus.first, numbers, "right") - 1).tolist():
        shard, begin = corpus.manifest.shards[position], int(corpus.first[position])
        first, last = np.searchsorted(numbers, corpus.first[position : position + 2])
        mine = numbers[first:last].tolist()
        try:
            with ShardReader(corpus.folder / shard.name, corpus.manifest.members) as reader:
                keys = reader.index["key"][[pair - begin for pair in mine]]
        except (BadShard, OSError, IndexError) as error:
            why = str(error) if shard.name in str(error) else f"{corpus.folder / shard.name}: {error}"
            bad |= {pair: f"{why} (pair in row {pair - begin})" for pair in mine}
            continue
        for pair, key in zip(mine, keys, strict=True):
            refs[pair] = PairRef(position, pair - begin, key.decode(), shard.slide, shard.split)
    return refs, bad
