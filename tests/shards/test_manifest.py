"""The file of seeds beside a manifest: what the samples say, checked by its readers and by verify, replaced with the manifest."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import map_in_processes
from shards import cutting
from shards.manifest import (
    kept_seeds,
    pack_seeds,
    parse_manifest,
    publish_seeds,
    read_manifest,
    read_seeds,
    seeds_name,
    write_seeds,
)
from shards.sample import MEMBERS
from shards.tar import NO_SEED, ShardReader
from shards.verify.corpus import verify_corpus
from tests.shards.slides_for_tests import shards_config, square_feature, write_annotation, write_corpus

CONFIG = shards_config(tissue_stride_um=192.0, samples_per_shard=15)


def built(table, folder):
    todo = cutting.units(CONFIG, table)
    assert not map_in_processes(todo, cutting.cut, folder, 1, describe=cutting.describe)
    return cutting.write_manifest(CONFIG, table, todo, folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    built(write_corpus(folder / "slides"), folder / "shards")
    return folder


@pytest.fixture
def made(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "made"))


def of_samples(folder):
    manifest = read_manifest(folder / "manifest.json")
    names = []
    for shard in manifest.shards:
        with ShardReader(folder / shard.name, MEMBERS) as reader:
            names += [json.loads(reader.read(row)["json"])["seed_class"] for row in range(len(reader))]
    return np.array([NO_SEED if name is None else manifest.classes.index(name) for name in names])


def test_they_are_those_of_the_samples_in_the_manifests_order(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    seeds = read_seeds(folder, manifest)
    assert seeds.dtype == np.uint8 and np.array_equal(seeds, of_samples(folder))
    counts = {name: int((seeds == i).sum()) for i, name in enumerate(manifest.classes)}
    for name, count in counts.items():
        assert count == sum(shard.seeds.get(name, 0) for shard in manifest.shards)
    assert len(set(seeds)) > 2


def test_a_changed_corpus_has_its_own_file_and_the_old_manifest_keeps_its_own_until_it_is_pruned(made):
    folder = made / "shards"
    old = read_manifest(folder / "manifest.json")
    expected = read_seeds(folder, old)
    write_annotation(made / "slides/s1.geojson", square_feature("Tumor", 200, 200, 600, 600))
    new = built(made / "slides" / "slides.csv", folder)
    assert seeds_name(new) != seeds_name(old)
    assert np.array_equal(read_seeds(folder, old), expected)
    assert np.array_equal(read_seeds(folder, new), of_samples(folder))
    assert seeds_name(old) in [finding.shard for finding in verify_corpus(folder, 1).warnings]
    assert seeds_name(old) in cutting.superseded(folder) and seeds_name(new) not in cutting.superseded(folder)
    cutting.prune(folder)
    assert [path.name for path in folder.glob("seeds-*")] == [seeds_name(new)]


def test_each_shard_has_its_part_of_them(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    kept = kept_seeds(folder)
    assert list(kept) == [shard.name for shard in manifest.shards]
    assert [len(part) for part in kept.values()] == [shard.samples for shard in manifest.shards]
    assert np.array_equal(np.concatenate(list(kept.values())), of_samples(folder))


def test_those_that_were_kept_are_not_those_of_a_corpus_that_was_built_again(made):
    folder = made / "shards"
    before = kept_seeds(folder)
    write_annotation(made / "slides/s1.geojson", square_feature("Tumor", 200, 200, 600, 600))
    built(made / "slides" / "slides.csv", folder)
    assert kept_seeds(folder).keys() != before.keys()
    assert np.array_equal(np.concatenate(list(kept_seeds(folder).values())), of_samples(folder))


def test_a_record_without_a_seed_for_each_pair_is_refused(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    packed = {name: pack_seeds(seeds) for name, seeds in kept_seeds(folder).items()}
    assert publish_seeds(folder, manifest.shards, packed) == manifest.facts["seeds"]
    packed[manifest.shards[0].name] = pack_seeds(np.zeros(3))
    with pytest.raises(RuntimeError, match=f"{manifest.shards[0].name} has 3 seeds"):
        publish_seeds(folder, manifest.shards, packed)


def damage_of(folder):
    return [str(finding) for finding in verify_corpus(folder, 1).damage]


def test_verify_finds_seeds_that_are_missing_or_changed(made):
    folder = made / "shards"
    assert damage_of(folder) == []
    (path,) = folder.glob("seeds-*")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert damage_of(folder) == [f"{path.name}: is not the file of the manifest beside it"]
    path.unlink()
    assert damage_of(folder) == [f"{path.name}: cannot be read (No such file or directory)"]


def test_verify_finds_seeds_that_agree_with_the_manifest_and_not_with_the_samples(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    true = read_seeds(folder, manifest)
    tree = json.loads((folder / "manifest.json").read_text())
    tree["facts"]["seeds"] = write_seeds(folder, np.roll(true, 1))
    (folder / "manifest.json").write_text(json.dumps(tree))
    assert not np.array_equal(read_seeds(folder, read_manifest(folder / "manifest.json")), true)
    found = damage_of(folder)
    assert found and all("does not say what the samples of" in text for text in found)


def test_a_name_that_leads_out_of_the_folder_is_damage(made):
    folder = made / "shards"
    tree = json.loads((folder / "manifest.json").read_text())
    tree["facts"]["seeds"]["name"] = "../seeds.npy"
    (folder / "manifest.json").write_text(json.dumps(tree))
    (said,) = damage_of(folder)
    assert said.startswith("manifest.json: ") and "'../seeds.npy', leads out of the folder" in said


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (lambda tree, name: tree["shards"][0].update(name=name), "shards.0.name"),
        (lambda tree, name: tree["shards"][0].update(of=name), "shards.0.of"),
        (lambda tree, name: tree["slides"][0].update(overview=name), "slides.0.overview"),
    ],
)
def test_no_name_in_a_manifest_leads_anywhere_else(made, edit, key):
    path = made / "shards" / "manifest.json"
    for name in ("../x.tar", "/etc/passwd", "..", "a/../../x", "x\0y", ".hidden", "a//b"):
        tree = json.loads(path.read_text())
        edit(tree, name)
        path.write_text(json.dumps(tree))
        for read in (read_manifest, lambda path: parse_manifest(path.read_bytes(), path)):
            with pytest.raises(UserError, match=f"key '{key}': the name leads out of the folder"):
                read(path)


def test_counts_are_numbers_that_can_be(made):
    path = made / "shards" / "manifest.json"
    for number in (-1, 1 << 53, 1e30, "3"):
        tree = json.loads(path.read_text())
        tree["shards"][0]["samples"] = number
        path.write_text(json.dumps(tree))
        with pytest.raises(UserError, match=r"key 'shards\.0\.samples'"):
            read_manifest(path)


def test_a_manifest_that_is_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(UserError, match="not a regular file"):
        read_manifest(tmp_path / "manifest.json")
