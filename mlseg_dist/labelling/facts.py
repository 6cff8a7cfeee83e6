"""What a published sidecar shard says: drawing classes, counts of accepted px, the device that made it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data import labels
from mlseg_dist.data.corpus import class_table
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.labelling.work import MEMBERS, accepting_of
from mlseg_dist.run_folder import shards_folder
from shards.manifest import Manifest, kept_manifest, kept_seeds, pack_seeds
from shards.outside import OUTSIDE, Outside
from shards.sample import decode_label
from shards.tar import NO_SEED, ShardReader

_CENTRE_UM = 32.0  # where an unannotated pair's drawing class is looked for when its seed is not accepted


class _Looked(NamedTuple):
    """What is counted in a pair. accepted, taught: px by class, int64 (256,). outside: px off the slide.

    seed: the class that the pair is drawn for, if no person says it.
    """

    accepted: np.ndarray
    taught: np.ndarray
    outside: int
    seed: int


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """Look at a published sidecar. seed_of_each: the drawing class that the teacher gives an unannotated pair.

    pixels: accepted and rejected ones of the slide, and, where there are any, those outside of it. taught: as the next step
    learns, human px first, then accepted; all at the sidecar's resolution.
    Raises RuntimeError unless its keys are those of its shard, each once, in order.
    """
    config, step_index, run, shard_name, name, _ = unit.payload
    accepted_as = accepting_of(config, step_index, run).table("high")
    rare = config.steps[step_index].label.draw_rare
    corpus = kept_manifest(shards_folder(run) / "manifest.json")
    table, outside = class_table(corpus.classes, config.training_classes), Outside(corpus)
    with (
        ShardReader(files[name], MEMBERS, derived.winners.get(name)) as sidecar,
        ShardReader(shards_folder(run) / shard_name, corpus.members) as pairs,
    ):
        if not np.array_equal(sidecar.index["key"], pairs.index["key"]):
            raise RuntimeError(f"{files[name]} does not hold the keys of {shard_name}, each once, in order")
        high, human_high = MEMBERS.index("high.png"), corpus.members.index("high.png")

        def look(row: int) -> _Looked:
            accepted = labels.decode(decode_label(sidecar.read_member(row, high)), accepted_as)
            fine = decode_label(pairs.read_member(row, human_high))
            stride = fine.shape[0] // accepted.shape[0]
            human = table[fine[stride // 2 :: stride, stride // 2 :: stride]]
            joined = np.where(human != IGNORED, human, accepted)
            off = int(outside.of_row(pairs, row, stride).get("high", np.zeros(1)).sum())
            return _Looked(_count(accepted), _count(joined), off, drawing_class(accepted, corpus, rare))

        with ThreadPoolExecutor(threads_for(config.train.workers)) as pool:
            looked = list(pool.map(look, range(len(sidecar))))
        device = json.loads(sidecar.read_member(0, MEMBERS.index("json")))["device"]
        index_sha256 = sidecar.index_sha256
    human_seeds = table[kept_seeds(shards_folder(run))[shard_name]]
    accepted = np.sum([one.accepted for one in looked], axis=0)
    taught = np.sum([one.taught for one in looked], axis=0)
    off = sum(one.outside for one in looked)
    pixels = {c: int(accepted[i]) for i, c in enumerate(CLASSES)} | {"rejected": int(accepted[IGNORED]) - off}
    seeds = np.array([one.seed for one in looked], np.uint8)
    drawn = np.bincount(np.where(human_seeds == IGNORED, seeds, human_seeds), minlength=256)
    return {
        "samples": len(seeds),
        "index_sha256": index_sha256,
        "of": shard_name,
        "pixels": pixels | ({OUTSIDE: off} if off else {}),
        "seeds": {c: int(drawn[i]) for i, c in enumerate(CLASSES)} | {"not drawn": int(drawn[IGNORED])},
        "taught": {c: int(taught[i]) for i, c in enumerate(CLASSES)},
        "device": device,
        "seed_of_each": pack_seeds(seeds),
    }


def _count(classes: np.ndarray) -> np.ndarray:
    """uint8 map -> int64 (256,)."""
    return np.bincount(classes.ravel(), minlength=256)


def drawing_class(classes: np.ndarray, corpus: Manifest, rare: float = 0.0) -> int:
    """Class that a pair is drawn for, uint8, or NO_SEED.

    The rare class with most accepted px, tumour or others, if it makes up at least `rare` of the view (0: not asked); else the
    accepted class at the seed (the centre), else the majority of accepted px in the central 32 µm.
    classes: accepted ones of the high view, uint8 (side, side), 255 where none is.
    """
    if rare:
        pixels = _count(classes)[1 : len(CLASSES)]
        if pixels.max() >= rare * classes.size:
            return 1 + int(pixels.argmax())
    middle = classes.shape[0] // 2
    if classes[middle, middle] != IGNORED:
        return int(classes[middle, middle])
    field_um = corpus.views["high_mpp"] * corpus.views["store_px"]
    reach = max(1, round(_CENTRE_UM / 2 / field_um * classes.shape[0]))
    near = classes[middle - reach : middle + reach, middle - reach : middle + reach]
    near = near[near != IGNORED]
    return int(np.bincount(near).argmax()) if near.size else NO_SEED
