"""A corpus opens without its indices, joins labels by shard, keeps few shards open, and says which pair is bad."""

import gc
import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from mlseg_dist import labelling
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.data.open_shards import OpenShards
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.manifest import kept_seeds, read_manifest, write_seeds
from shards.tar import BadShard, ShardReader, write_shard
from tests.mlseg_dist.tiny_run import tiny_run
from tests.shards.tars import index_of, rename_keys


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a first round of labels."""
    run = tiny_run(tmp_path_factory.mktemp("corpus"))
    steps = [step.model_dump(mode="json") for step in run.config.steps]
    steps[0]["label"]["threshold"] = 0.0
    config = type(run.config).model_validate_json(json.dumps({**run.config.model_dump(mode="json"), "steps": steps}))
    folder = labels_folder(run.path, 1)
    assert not run_units(labelling.units(config, 0, run.path), labelling.label, folder, describe=labelling.describe)
    labelling.write_round(config, 0, run.path, folder)
    return run


@pytest.fixture
def run(made, tmp_path):
    """A copy to damage."""
    return type(made)(Path(shutil.copytree(made.path, tmp_path / "run")), made.config)


def opened(run, labels=True):
    return Corpus(shards_folder(run.path), run.config.training_classes, labels_folder(run.path, 1) if labels else None)


def edit(path, change):
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize("labels", [False, True])
def test_the_class_that_a_pair_is_drawn_for(run, labels):
    """Written out pair by pair."""
    corpus = opened(run, labels)
    assert len(set(corpus.drawing_classes)) == 4 or not labels
    number = 0
    for shard in corpus.manifest.shards:
        keys = index_of(corpus.folder / shard.name)["key"]
        sidecar = next((s for s in corpus.round.shards if s.of == shard.name), None) if labels else None
        said = kept_seeds(corpus.labels_folder)[sidecar.name] if sidecar else None
        for row, seed in enumerate(kept_seeds(corpus.folder)[shard.name]):
            expected = IGNORED
            if shard.split == "train":
                if seed != 255:
                    expected = run.config.training_classes[corpus.manifest.classes[seed]]
                elif said is not None:
                    expected = said[row]
            assert corpus.drawing_classes[number] == expected
            ref = corpus.ref(number)
            assert (ref.key, ref.row, ref.slide, ref.split) == (
                keys[row].decode(),
                row,
                shard.slide,
                shard.split,
            )
            number += 1
    assert corpus.numbers("val").tolist() == [n for n in range(number) if corpus.ref(n).split == "val"]
    assert [corpus.ref(n) for n in corpus.numbers("val")] == corpus.refs("val")


def test_it_opens_and_knows_what_to_draw_without_any_shard(run):
    expected = opened(run).drawing_classes
    for path in (*shards_folder(run.path).glob("*.tar"), *labels_folder(run.path, 1).glob("*.tar")):
        path.unlink()
    pools = opened(run).pools()
    assert np.array_equal(pools.classes, expected)
    assert pools.counts.sum() == np.isin(expected, (0, 1, 2)).sum()


def test_a_corpus_that_names_no_seeds_is_refused(run):
    edit(shards_folder(run.path) / "manifest.json", lambda tree: tree["facts"].pop("seeds"))
    with pytest.raises(UserError, match="names no file of seeds"):
        opened(run, labels=False).pools()


def test_seeds_of_another_manifest_and_missing_ones_are_refused(run):
    (seeds,) = shards_folder(run.path).glob("seeds-*.npy")
    data = bytearray(seeds.read_bytes())
    data[-1] ^= 1
    seeds.write_bytes(data)
    with pytest.raises(UserError, match="not the file of the manifest"):
        opened(run).pools()
    seeds.unlink()
    with pytest.raises(UserError, match=r"seeds-.*No such file"):
        opened(run).pools()


def test_a_round_that_lacks_a_train_shard_is_refused(run):
    path = labels_folder(run.path, 1) / "manifest.json"
    none = write_seeds(path.parent, np.empty(0, np.uint8))
    edit(path, lambda tree: (tree["shards"].clear(), tree["facts"].update(seeds=none)))
    with pytest.raises(UserError, match="does not label"):
        opened(run).pools()


def test_a_sidecar_of_other_keys_is_refused(run):
    folder = labels_folder(run.path, 1)
    sidecar = read_manifest(folder / "manifest.json").shards[0]
    corpus = opened(run)
    rename_keys(folder / sidecar.name, corpus.round.members)
    with pytest.raises(UserError, match="sidecar row 0"):
        corpus.read_sidecar(corpus.ref(int(corpus.numbers("train")[0])))


def test_corpora_that_nobody_closes_keep_no_files_open(run):
    def open_files():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for _ in range(30):
        corpus = opened(run)
        corpus.read(corpus.ref(int(corpus.numbers("train")[0])))
        corpus.read_sidecar(corpus.ref(int(corpus.numbers("train")[0])))
    assert len(list(Path("/proc/self/fd").iterdir())) > before, "it is read through open files"
    del corpus
    assert open_files() == before


@pytest.mark.parametrize("what", ["byte", "tar", "cut"])
def test_a_bad_pair_is_told_with_shard_and_key_or_row(run, what):
    corpus = opened(run)
    number = int(corpus.numbers("train")[3])
    ref = corpus.ref(number)
    path = corpus.folder / corpus.manifest.shards[ref.shard].name
    corpus.open.close()
    if what == "byte":
        place = index_of(path)[ref.row]
        data = bytearray(path.read_bytes())
        data[int(place["offset"][1]) + 9] ^= 4
        path.write_bytes(data)
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:700])
    else:
        path.unlink()
    told = rf"{path.stem}.*({re.escape(ref.key)}|row {ref.row})"
    with pytest.raises(BadPair, match=told):
        corpus.read(corpus.ref(number))
    if what == "byte":
        assert corpus.read(corpus.ref(number + 1)), "the next pair is sound"


def test_a_file_that_comes_back_is_read_again(run):
    corpus = opened(run)
    ref = corpus.ref(int(corpus.numbers("train")[0]))
    path = corpus.folder / corpus.manifest.shards[ref.shard].name
    corpus.open.close()
    path.rename(path.with_suffix(".away"))
    with pytest.raises(BadPair):
        corpus.read(ref)
    path.with_suffix(".away").rename(path)
    assert corpus.read(ref)


def handles():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def many(tmp_path):
    """Twelve shards of five samples, each of which says who it is."""
    for shard in range(12):
        path = tmp_path / f"{shard:02d}.tar"
        write_shard(path, [(f"s+{shard:02d}+{row}", {"txt": f"{shard} {row}".encode()}) for row in range(5)])
    return [tmp_path / f"{shard:02d}.tar" for shard in range(12)]


def test_an_open_shard_is_one_handle(many):
    before, shards = handles(), OpenShards()
    for path in many:
        with shards.using(path, ("txt",)) as reader:
            assert reader.read(4)
    assert handles() == before + 12
    shards.close()


@pytest.mark.parametrize("most", [3, 50])
def test_threads_share_a_bounded_number_of_open_shards_and_none_leaks(many, most):
    before = handles()
    shards = OpenShards(most)
    peak = 0

    def read(number):
        nonlocal peak
        shard, row = np.random.default_rng(number).integers([12, 5])
        with shards.using(many[shard], ("txt",)) as reader:
            assert reader.read(int(row)) == {"txt": f"{shard} {row}".encode()}
            peak = max(peak, handles())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(3000)))
    assert peak <= before + most + 3 * 8, "at most `most`, and of each thread what it uses, what it closes and our look"
    assert shards.opened > 100 if most == 3 else shards.opened == 12
    shards.close()
    assert handles() == before


def test_a_shard_in_use_is_closed_only_when_its_reader_is_done(many):
    shards = OpenShards(1)
    with shards.using(many[0], ("txt",)) as first:
        for other in many[1:4]:
            with shards.using(other, ("txt",)):
                pass
        shards.forget(many[0])
        assert first.read(2) == {"txt": b"0 2"}
        file = first._file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_one_that_cannot_be_opened_leaks_nothing(many, tmp_path):
    before = handles()
    shards = OpenShards()
    for _ in range(20):
        with pytest.raises(BadShard), shards.using(tmp_path / "none.tar", ("txt",)):
            pass
    many[0].unlink()
    with pytest.raises(BadShard), shards.using(many[0], ("txt",)):
        pass
    assert handles() == before


def test_the_same_bytes_as_a_reader_of_the_whole_index(run):
    corpus = opened(run)
    shard = corpus.manifest.shards[0]
    with ShardReader(corpus.folder / shard.name, corpus.manifest.members) as plain:
        for number in range(shard.samples):
            assert corpus.read(corpus.ref(number)) == plain.read(number)
