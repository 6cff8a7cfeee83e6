"""The webdataset pipeline: every sample once on any nodes and workers, labels as training joins them, damage is told."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
from torch.utils.data import DataLoader

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from mlseg_dist import labelling
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.labels import Accepting
from mlseg_dist.data.views import stored_views
from mlseg_dist.data.web import web_dataset
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.manifest import read_manifest
from shards.tar import BadShard, Place, ShardReader, size_and_index_sha256, write_shard
from tests.mlseg_dist.tiny_run import TinyRun, tiny_run
from tests.mlseg_dist.web_node import EPOCHS, WORKERS, keys_of_epochs
from tests.shards.tars import index_of, rename_keys, replace_index

ROOT = Path(__file__).parents[3]
NODES = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of several train shards, with a round of labels that accepts some of what its teacher says."""
    run = tiny_run(tmp_path_factory.mktemp("web"), cut={"samples_per_shard": 5})
    steps = [step.model_dump(mode="json") for step in run.config.steps]
    steps[0]["label"]["threshold"] = 0.0
    config = LearningConfig.model_validate_json(json.dumps({**run.config.model_dump(mode="json"), "steps": steps}))
    folder = labels_folder_1(run.path)
    assert not run_units(labelling.units(config, 0, run.path), labelling.label, folder, describe=labelling.describe)
    labelling.write_round(config, 0, run.path, folder)
    assert len(read_manifest(shards_folder(run.path) / "manifest.json").of_splits("train")) >= 2 * NODES
    return run


@pytest.fixture
def run(made, tmp_path):
    """A copy to damage: shards and labels."""
    for folder in (shards_folder, labels_folder_1):
        shutil.copytree(folder(made.path), folder(tmp_path / "run"))
    return TinyRun(tmp_path / "run", made.config)


def labels_folder_1(path: Path) -> Path:
    return labels_folder(path, 1)


def opened(run, labels=False, **options):
    sidecars = labels_folder_1(run.path) if labels else None
    return web_dataset(shards_folder(run.path), run.config.training_classes, sidecars, **options)


def keys_in(folder: Path, *splits: str) -> list[str]:
    manifest = read_manifest(folder / "manifest.json")
    return [key.decode() for shard in manifest.of_splits(*splits) for key in index_of(folder / shard.name)["key"]]


def expected(run, *splits: str) -> list[str]:
    return keys_in(shards_folder(run.path), *splits)


def test_each_sample_comes_once_on_one_and_two_nodes_with_one_and_two_workers(made):
    """Nodes are processes of their own, as srun or torchrun starts them."""
    command = [sys.executable, "-m", "tests.mlseg_dist.web_node", str(shards_folder(made.path))]
    nodes = [
        subprocess.Popen(
            [*command, json.dumps(made.config.training_classes)],
            cwd=ROOT,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(NODES)},
            stdout=subprocess.PIPE,
        )
        for rank in range(NODES)
    ]
    alone = {str(workers): keys_of_epochs(opened(made), workers) for workers in WORKERS}
    found = [json.loads(node.communicate(timeout=120)[0]) for node in nodes]
    everything = Counter(expected(made, "train"))
    for workers in map(str, WORKERS):
        first, second = alone[workers]
        assert Counter(first) == Counter(second) == everything
        assert first != second, "another order in another epoch"
        for epoch in range(EPOCHS):
            parts = [Counter(node[workers][epoch]) for node in found]
            assert sum(parts, Counter()) == everything
            assert all(parts), "every node has a part"
    assert alone["1"] == keys_of_epochs(opened(made), 0), "the seed decides"
    assert alone["1"] != keys_of_epochs(opened(made, seed=1), 0)


def test_workers_that_stay_are_told_the_epoch_and_spawned_ones_read_too(made):
    stays = keys_of_epochs(opened(made), 1, persistent_workers=True, multiprocessing_context="spawn")
    assert stays == keys_of_epochs(opened(made), 0)


def test_an_epoch_that_nobody_sets_has_an_order_of_its_own(made):
    dataset = opened(made)
    orders = [[sample["__key__"] for sample in dataset] for _ in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(expected(made, "train")))}
    twice = [sample["__key__"] for sample in opened(made).repeat(2)]
    assert twice == orders[0] + orders[1]
    dataset.set_epoch(0)
    assert [sample["__key__"] for sample in dataset] == orders[0], "set again, it comes again"


def test_splits_and_the_manifests_order(made):
    dataset = opened(made, splits=("val", "test"), seed=None)
    assert [sample["__key__"] for sample in dataset] == expected(made, "val", "test")
    assert dataset.samples == len(expected(made, "val", "test"))
    assert opened(made).batched(4).map(len).samples == len(expected(made, "train")), "webdataset's own methods keep it"


@pytest.mark.parametrize("people", [True, False])
@pytest.mark.parametrize("labels", [True, False])
def test_a_sample_is_what_training_reads(made, labels, people):
    folder = labels_folder_1(made.path) if labels else None
    corpus = Corpus(shards_folder(made.path), made.config.training_classes, folder, people=people)
    refs = {ref.key: ref for ref in corpus.refs("train", "val")}
    filled = 0
    for sample in opened(made, labels, people=people, splits=("train", "val")):
        ref = refs.pop(sample["__key__"])
        views = stored_views(corpus, ref)
        for name in ("high", "low", "high_label", "low_label"):
            assert np.array_equal(sample[name], getattr(views, name)), (ref.key, name)
        assert sample["slide"] == ref.slide and sample["__url__"] == corpus.manifest.shards[ref.shard].name
        human = corpus.training_class_of[views.high_fine]
        filled += int((sample["high_label"] != human).sum())
    assert not refs and (filled > 0) == labels


def test_thresholds_of_your_own(made):
    strict = opened(made, labels=True, accepting=Accepting.from_threshold(1.0), seed=None)
    plain = opened(made, seed=None)
    for one, other in zip(strict, plain, strict=True):
        assert np.array_equal(one["high_label"], other["high_label"]), "a random teacher is never sure"


def test_a_shard_that_the_manifest_does_not_name_is_not_read(run):
    folder, (first, *rest) = shards_folder(run.path), run.manifest.of_splits("train")
    tree = json.loads((folder / "manifest.json").read_text())
    tree["shards"] = [shard for shard in tree["shards"] if shard["name"] != first.name]
    (folder / "manifest.json").write_text(json.dumps(tree))
    (folder / "other.tar").write_bytes((folder / rest[0].name).read_bytes())
    keys = [sample["__key__"] for sample in opened(run)]
    assert (
        Counter(keys) == Counter(expected(run, "train"))
        and index_of(folder / first.name)["key"][0].decode() not in keys
    )


def test_missing_and_cut_shards_and_sidecars_are_told_before_any_is_read(run):
    for folder, labels in ((shards_folder(run.path), False), (labels_folder_1(run.path), True)):
        entry = read_manifest(folder / "manifest.json").of_splits("train")[1]
        path = folder / entry.name
        data = path.read_bytes()
        path.write_bytes(data[:-512])
        with pytest.raises(
            UserError, match=f"{folder}: {entry.name} has {entry.bytes - 512} bytes, not the {entry.bytes}"
        ):
            opened(run, labels)
        path.unlink()
        with pytest.raises(UserError, match=f"{entry.name} is missing. Compare with: mlseg shards verify"):
            opened(run, labels)
        path.write_bytes(data)


def damage(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def roll_keys(folder: Path, name: str, told: bool) -> None:
    """Give a shard another index. told: it is that of other samples, and the manifest knows it."""
    if not told:
        index = index_of(folder / name)
        index["key"] = np.roll(index["key"], 1)
        replace_index(folder / name, index)
    else:
        rename_keys(folder / name, read_manifest(folder / "manifest.json").members)
        tree = json.loads((folder / "manifest.json").read_text())
        entry = next(shard for shard in tree["shards"] if shard["name"] == name)
        entry["index_sha256"] = size_and_index_sha256(folder / name)[1]
        (folder / "manifest.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("image", r"low.jpg is damaged \(crc32c differs\)"),
        ("sidecar", r"high.png is damaged \(crc32c differs\)"),
        ("header", "ends after 2 of 5 samples"),
        ("index", "has a damaged index"),
        ("keys of a sidecar", "its index is not the manifest's"),
        ("keys of a sidecar that its manifest knows", "row 0 is .*, not "),
    ],
)
def test_damage_is_one_error_that_names_the_shard(run, where, said):
    folder = labels_folder_1(run.path) if "sidecar" in where else shards_folder(run.path)
    name = read_manifest(folder / "manifest.json").of_splits("train")[1].name
    offset = index_of(folder / name)["offset"][2]
    if where in ("image", "sidecar"):
        damage(folder / name, int(offset[3 if where == "image" else 0]) + 30)
    elif where == "header":
        damage(folder / name, int(offset[0]) - 512)
    elif where == "index":
        with open(folder / name, "rb") as file:
            first = Place.find(file.fileno()).first
        damage(folder / name, first)
    else:
        roll_keys(folder, name, "knows" in where)
    loader = DataLoader(opened(run, labels=True), batch_size=None, num_workers=where == "image")
    assert re.search(f"{name}.*{said}", error_of(loader))


def error_of(loader: DataLoader) -> str:
    """The last line of what it raises. The traceback's frames are cleared, for they would keep the workers alive."""
    try:
        for _ in loader:
            pass
    except BadShard as error:
        traceback.clear_frames(error.__traceback__)
        return str(error).splitlines()[-1]
    return "nothing"


def test_what_does_not_fit_is_one_line(run, tmp_path):
    folder, classes = shards_folder(run.path), run.config.training_classes
    labels = labels_folder_1(run.path)
    for call, said in (
        (lambda: web_dataset(tmp_path / "none", classes), "none/manifest.json: cannot be read"),
        (lambda: web_dataset("pipe:cat x", classes), "pipe:cat x/manifest.json: cannot be read"),
        (lambda: web_dataset("pipe://cat x", classes), "pipe:// cannot be used here"),
        (lambda: web_dataset(labels, classes), "is a manifest of labels, not of corpus"),
        (lambda: web_dataset(folder, classes, folder), "is a manifest of corpus, not of labels"),
        (lambda: web_dataset(folder, {"tumour": 1}), "no training class for"),
        (lambda: web_dataset(folder, classes, splits=("final-unseen",)), "no split 'final-unseen' to read"),
        (lambda: web_dataset(folder, classes, splits=()), "no shard of"),
    ):
        with pytest.raises(UserError) as told:
            call()
        assert said in str(told.value) and "\n" not in str(told.value)
    with open(folder / "manifest.json", "a") as file:
        file.write(" ")
    with pytest.raises(UserError, match="made for another corpus"):
        opened(run, labels=True)


def test_shards_behind_a_url(made):
    store = fsspec.filesystem("memory")
    store.put(str(shards_folder(made.path)), "/web/shards", recursive=True)
    store.put(str(labels_folder_1(made.path)), "/web/labels", recursive=True)
    urls = ("memory://web/shards", "memory://web/labels")
    classes = made.config.training_classes
    there = list(web_dataset(urls[0], classes, urls[1]))
    here = list(opened(made, labels=True))
    assert [sample["__key__"] for sample in there] == [sample["__key__"] for sample in here]
    assert all(np.array_equal(a["high_label"], b["high_label"]) for a, b in zip(there, here, strict=True))


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_member_is_unpickled(run, tmp_path):
    """webdataset's own decoding would: it takes .pyd for a pickle."""
    folder, entry = shards_folder(run.path), run.manifest.of_splits("train")[0]
    with ShardReader(folder / entry.name, run.manifest.members) as shard:
        samples = [
            (shard.key(row), {**shard.read(row), "pyd": pickle.dumps(Trap(tmp_path / "trap"))}) for row in range(5)
        ]
    write_shard(folder / entry.name, samples)
    size, index_sha256 = size_and_index_sha256(folder / entry.name)
    tree = json.loads((folder / "manifest.json").read_text())
    known = next(shard for shard in tree["shards"] if shard["name"] == entry.name)
    tree["shards"] = [{**known, "bytes": size, "index_sha256": index_sha256}]
    tree["members"] = sorted(samples[0][1])
    (folder / "manifest.json").write_text(json.dumps(tree))
    assert len(list(opened(run))) == 5 and not (tmp_path / "trap").exists()
    pickle.loads(samples[0][1]["pyd"]).close()
    assert (tmp_path / "trap").exists(), "the trap works"
