"""Styled shards: the same keys in the same order, bytes that repeat, a manifest that a corpus reads by."""

import json

import numpy as np
import pytest

from launch.config import load_campaign
from mlseg_core.errors import Interrupted, UserError
from mlseg_core.exactly_once.run import Incomplete, run_units
from mlseg_core.files import read_json, sha256_file
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.styled import MEMBERS
from mlseg_dist.data.views import stored_views
from mlseg_dist.style import work
from mlseg_dist.style.generators import list_generators, train_generators
from mlseg_dist.style.pairs import StylePair, generator_folder, wanted
from mlseg_dist.style.publish import write_styled
from mlseg_dist.style.train import train_pair
from shards.manifest import read_manifest
from shards.sample import decode_rgb
from shards.tar import ShardReader
from tests.launch.conftest import tiny_campaign
from tests.mlseg_dist.style.two_scanners import SMALL, two_scanners
from tests.mlseg_dist.tiny_run import plain_config

PAIRS = (StylePair("Morphle", "Philips"), StylePair("Philips", "Morphle"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(shards, out) with a generator for each pair, hardly trained, so that images are nearly the corpus's."""
    folder = tmp_path_factory.mktemp("styled")
    shards = two_scanners(folder)
    for pair in PAIRS:
        train_pair(SMALL, shards, folder, pair, 3)
    return shards, folder


def apply(made, folder, config=SMALL, workers=1, **options):
    todo = work.units(config, *made, 3, workers=workers, **options)
    assert not run_units(todo, work.style, folder, describe=work.describe)
    return todo, write_styled(todo, folder)


def digests(folder):
    return {path.name: sha256_file(path) for path in sorted(folder.glob("[!.]*.tar"))}


def test_bytes_repeat_with_any_number_of_threads_and_a_manifest_says_all(made, tmp_path):
    todo, path = apply(made, tmp_path / "one")
    work._loaded.clear()
    apply(made, tmp_path / "other", workers=3)
    assert digests(tmp_path / "one") == digests(tmp_path / "other") and len(todo) == 4
    assert path.read_bytes() == (tmp_path / "other" / "manifest.json").read_bytes()
    shards, out = made
    manifest, corpus = read_manifest(path), read_manifest(shards / "manifest.json")
    assert manifest.kind == "styled" and manifest.members == MEMBERS
    assert sorted(entry.of for entry in manifest.shards) == sorted(shard.name for shard in corpus.of_splits("train"))
    generators = {f"generator {p.name}": sha256_file(generator_folder(out, p) / "generator.pt") for p in PAIRS}
    assert manifest.parents == {"corpus": sha256_file(shards / "manifest.json"), **generators}
    assert set(manifest.facts["targets"].values()) == {"Philips", "Morphle"} and manifest.facts["not_styled"] == []
    assert all(0.9 < part["least"] <= part["mean"] <= 1 for part in manifest.facts["ssim"].values())
    for entry in manifest.shards:
        target = manifest.facts["targets"][entry.name]
        assert {row.slug: row.scanner for row in corpus.slides}[entry.slide] != target
        with (
            ShardReader(path.parent / entry.name, MEMBERS) as styled,
            ShardReader(shards / entry.of, corpus.members) as own,
        ):
            assert np.array_equal(styled.index["key"], own.index["key"])
            info = json.loads(styled.read(1)["json"])
            assert (info["of"], info["target"]) == (own.key(1), target)
            assert info["generator"] in generators.values()
            images = [decode_rgb(reader.read(1)["high.jpg"]).astype(int) for reader in (styled, own)]
            assert 0 < np.abs(images[0] - images[1]).mean() < 12, "six steps change little"


def test_a_corpus_reads_them(made, tmp_path):
    _, path = apply(made, tmp_path)
    corpus = Corpus(made[0], plain_config()["training_classes"], None, path.parent)
    corpus.styled.check()
    ref = corpus.ref(int(corpus.numbers("train")[2]))
    own, styled = stored_views(corpus, ref), stored_views(corpus, ref, gan_style=0.4)
    assert not np.array_equal(own.high, styled.high) and not np.array_equal(own.low, styled.low)
    assert np.array_equal(own.high_label, styled.high_label) and np.array_equal(own.low_label, styled.low_label)


def test_a_sample_is_styled_the_same_in_any_batch(made, tmp_path):
    """But for sums that a CPU does in another order: a grey level here and there."""
    found = []
    for batch in (8, 5):
        _, path = apply(made, tmp_path / str(batch), SMALL.model_copy(update={"apply_batch": batch}))
        entry = read_manifest(path).shards[0]
        with ShardReader(path.parent / entry.name, MEMBERS) as styled:
            found.append([decode_rgb(styled.read(row)["high.jpg"]).astype(int) for row in range(len(styled))])
    assert np.abs(np.array(found[0]) - found[1]).max() <= 8, "JPEG makes more of one grey level"
    assert np.abs(np.array(found[0]) - found[1]).mean() < 0.01


def test_what_decides_the_bytes_is_in_a_units_key(made):
    keys = {unit.name: unit.inputs for unit in work.units(SMALL, *made, 3)}
    for config, options in (
        (SMALL.model_copy(update={"jpeg_quality": 90}), {}),
        (SMALL.model_copy(update={"apply_batch": 3}), {}),
        (SMALL, {"bf16": True}),
    ):
        other = {unit.name: unit.inputs for unit in work.units(config, *made, 3, **options)}
        assert other.keys() == keys.keys() and not set(other.values()) & set(keys.values())
    same = {unit.inputs for unit in work.units(SMALL.model_copy(update={"log_every": 9}), *made, 3, workers=7)}
    assert same == set(keys.values())


def test_mistakes(made, tmp_path):
    shards, out = made
    with pytest.raises(UserError, match=r"no generator Morphle -> Philips yet.*mlseg style train"):
        work.units(SMALL, shards, tmp_path, 3)
    todo = work.units(SMALL, shards, out, 3)
    assert not run_units(todo[:2], work.style, tmp_path, describe=work.describe)
    with pytest.raises(Incomplete, match="2 units"):
        write_styled(todo, tmp_path)
    folder = generator_folder(out, PAIRS[0])
    whole = (folder / "generator.pt").read_bytes()
    (folder / "generator.pt").write_bytes(whole[:-9] + bytes(9))
    work._loaded.clear()
    try:
        failed = run_units(todo, work.style, tmp_path / "bad", describe=work.describe)
    finally:
        (folder / "generator.pt").write_bytes(whole)
        work._loaded.clear()
    assert len(failed) == 2 and all("missing or damaged" in one.reason for one in failed)
    assert read_json(folder / "generator.json")["sha256"] == sha256_file(folder / "generator.pt")


def test_a_pair_that_keeps_too_little_is_left_out_and_told(made, tmp_path):
    shards, _ = made
    wild = SMALL.model_copy(update={"ssim": 0.0, "agreement": 0.0, "lr": 0.05, "steps": 12, "average": 0.01})
    train_pair(wild, shards, tmp_path, PAIRS[0], 3)
    train_pair(SMALL, shards, tmp_path, PAIRS[1], 3)
    folder, told = tmp_path / "styled", []
    _, path = apply((shards, tmp_path), folder, SMALL.model_copy(update={"min_ssim": 0.0}))
    kept = {name: found["mean"] for name, found in read_manifest(path).facts["ssim"].items()}
    assert kept["Morphle -> Philips"] < 0.9 < kept["Philips -> Morphle"], "nothing kept the first to the structure"

    strict = SMALL.model_copy(update={"min_ssim": 0.9})
    write_styled(work.units(strict, shards, tmp_path, 3), folder, lambda *said, **facts: told.append(said))
    manifest = read_manifest(path)
    assert manifest.facts["left_out"] == ["Morphle -> Philips"] and set(manifest.facts["targets"].values()) == {
        "Morphle"
    }
    assert [event for event, _ in told] == ["style-left-out"] and "Morphle -> Philips" in told[0][1]
    assert len(manifest.shards) == 2 and len(manifest.facts["not_styled"]) == 2
    alone = strict.model_copy(update={"pairs": (("Morphle", "Philips"),)})
    with pytest.raises(UserError, match=r"no pair of styles keeps an SSIM of 0\.9; the best has"):
        apply((shards, tmp_path), tmp_path / "alone", alone)


def test_ranks_share_the_pairs_and_the_first_lists_them_all(tmp_path, monkeypatch):
    shards = two_scanners(tmp_path)
    config = load_campaign(tiny_campaign(tmp_path, style=SMALL.model_dump(mode="json", exclude_defaults=True)))
    pairs, names = wanted(config.style, read_manifest(shards / "manifest.json")), []
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(Interrupted, match="before generator"):
        list_generators(config, shards, tmp_path, pairs, lambda: True)
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        train_generators(config, shards, tmp_path, pairs, lambda: False, tmp_path / f"{rank}.json")
        made = sorted(path.parent.name for path in (tmp_path / "generators").glob("*/generator.json"))
        names.append(made)
        assert read_json(tmp_path / f"{rank}.json")["done"] == SMALL.steps
    assert names == [["Morphle--Philips"], ["Morphle--Philips", "Philips--Morphle"]]
    listed = read_json(list_generators(config, shards, tmp_path, pairs, lambda: False))
    assert listed["pairs"]["Philips--Morphle"]["sha256"] == sha256_file(
        tmp_path / "generators/Philips--Morphle/generator.pt"
    )
    assert all((tmp_path / "generators" / name / "sheet.jpg").exists() for name in listed["pairs"])
