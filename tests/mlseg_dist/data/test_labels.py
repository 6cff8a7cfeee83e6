"""Sidecar labels: exact thresholds, block mode, precedence; labelling twice gives the same bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlseg_core.exactly_once.run import Incomplete, run_units
from mlseg_core.files import sha256_file
from mlseg_dist import labelling
from mlseg_dist.config import IGNORED
from mlseg_dist.data import labels
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.labels import NEVER, Accepting, in_words, of_round
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.manifest import read_manifest
from shards.tar import ShardReader
from tests.mlseg_dist.tiny_run import tiny_run


def accepted_from(threshold: float) -> np.ndarray:
    return Accepting.from_threshold(threshold).table("high")


@given(st.integers(0, 2), st.floats(0.34, 1.0), st.integers(0, 19))
def test_thresholds_in_steps_of_five_hundredths_are_exact(winner, probability, twentieths):
    p = np.full((3, 1, 1), (1 - probability) / 2)
    p[winner] = probability
    accepted = labels.decode(labels.encode(p), accepted_from(twentieths / 20))[0, 0]
    level = int(np.floor(probability * 20 + 1e-6))
    assert accepted == (winner if level >= twentieths else IGNORED)


def test_block_mode_wants_the_whole_block():
    codes = np.array([[21 + 19, 21 + 18, 5, 5], [21 + 20, 21 + 19, 5, 26], [255, 1, 1, 1], [1, 1, 1, 1]], np.uint8)
    assert labels.block_mode(codes, 2).tolist() == [[21 + 18, 255], [255, 1]]


def test_low_labels_of_round_one_and_later():
    high = np.full((8, 8), 1 * 21 + 19, np.uint8)
    first = labels.low_from_high(high, None, 4, accepted_from(0.9))
    inner = np.zeros((8, 8), bool)
    inner[3:5, 3:5] = True
    assert (first[inner] == 1 * 21 + 19).all() and (first[~inner] == 255).all()
    low = np.full((8, 8), 2 * 21 + 20, np.uint8)
    later = labels.low_from_high(high, low, 4, accepted_from(0.9))
    assert (later[inner] == 1 * 21 + 19).all() and (later[~inner] == 2 * 21 + 20).all(), (
        "high beats low where both exist"
    )
    unsure = labels.low_from_high(np.full((8, 8), 1 * 21 + 10, np.uint8), low, 4, accepted_from(0.9))
    assert (unsure == 2 * 21 + 20).all(), "a rejected high pixel does not hide the low head's"


def test_human_pixels_always_win():
    human = np.array([[0, 255], [255, 2]], np.uint8)
    codes = np.array([[1 * 21 + 20]], np.uint8)  # half resolution, sure of tumour
    assert labels.join(human, codes, accepted_from(0.9)).tolist() == [[0, 1], [1, 2]]
    assert labels.join(human, np.array([[1 * 21 + 17]], np.uint8), accepted_from(0.9)).tolist() == [[0, 255], [255, 2]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("labels"))


@pytest.mark.parametrize("step", [0, 1])
def test_a_round_has_the_keys_of_its_corpus_in_order_and_is_reproducible(run, tmp_path, step):
    digests = []
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        units = labelling.units(run.config, step, run.path)
        assert not run_units(units, labelling.label, folder, describe=labelling.describe)
        labelling.write_round(run.config, step, run.path, folder)
        digests.append({p.name: sha256_file(p) for p in folder.glob("*.tar")})
    assert digests[0] == digests[1]
    round_manifest, corpus = read_manifest(folder / "manifest.json"), run.manifest
    assert {s.split for s in round_manifest.shards} == {"train"}, "only the train split is ever labelled"
    for sidecar in round_manifest.shards:
        with (
            ShardReader(folder / sidecar.name, labelling.MEMBERS) as labels_of,
            ShardReader(shards_folder(run.path) / sidecar.of, corpus.members) as source,
        ):
            assert [labels_of.key(i) for i in range(len(labels_of))] == [source.key(i) for i in range(len(source))]
    facts = round_manifest.facts
    train = sum(s.samples for s in corpus.of_splits("train"))
    outside = sum(sidecar.pixels.get("outside", 0) for sidecar in round_manifest.shards)
    assert 0 < outside < 0.1 * train * 32 * 32, "views at the border of the painted slide reach beyond it"
    assert sum(facts["accepted"].values()) + facts["rejected"] + outside == train * 32 * 32
    assert sum(facts["drawn"].values()) == train


def test_no_manifest_while_a_shard_is_missing(run, tmp_path):
    with pytest.raises(Incomplete):
        labelling.write_round(run.config, 0, run.path, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_labels_of_another_corpus_are_refused(run, tmp_path):
    from mlseg_core.errors import UserError
    from mlseg_core.files import read_json, write_json

    folder = labels_folder(tmp_path, 1)
    run_units(labelling.units(run.config, 0, run.path), labelling.label, folder, describe=labelling.describe)
    path = labelling.write_round(run.config, 0, run.path, folder)
    Corpus(shards_folder(run.path), run.config.training_classes, folder)
    manifest = read_json(path)
    manifest["parents"]["corpus"] = "0" * 64
    write_json(path, manifest)
    with pytest.raises(UserError, match="another corpus"):
        Corpus(shards_folder(run.path), run.config.training_classes, folder)


def test_each_class_and_view_has_its_own_threshold():
    accepting = Accepting(high=(18, 10, NEVER), low=(NEVER, 20, 0))
    codes = np.array([[0 * 21 + 18, 0 * 21 + 17, 1 * 21 + 10, 2 * 21 + 20, 255]], np.uint8)
    assert labels.decode(codes, accepting.table("high")).tolist() == [[0, 255, 1, 255, 255]]
    assert labels.decode(codes, accepting.table("low")).tolist() == [[255, 255, 255, 2, 255]]
    assert Accepting.from_json(accepting.to_json()) == accepting
    assert accepting.to_json()["high"] == {"background": 0.9, "tumour": 0.5, "others": None}
    assert of_round({"threshold": 0.9}) == Accepting.from_threshold(0.9), "a round of earlier code"
    assert of_round({"threshold": 0.9, "accepting": accepting.to_json()}) == accepting
    assert in_words(accepting) == "background from 0.9, tumour from 0.5, others never"
    assert in_words(Accepting.from_threshold(0.9)) == "from 0.9"
