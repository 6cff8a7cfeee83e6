"""The file of seeds beside a manifest: what the indices say, checked by its readers and by verify, replaced with the manifest."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlseg_core.map import map_in_processes
from shards import build
from shards.manifest import read_manifest
from shards.seeds import pack_seeds, publish_seeds, read_seeds, seeds_name
from shards.tar import index_path
from shards.verify.corpus import verify_corpus
from tests.shards.slides_for_tests import shards_config, square_feature, write_annotation, write_corpus

CONFIG = shards_config(tissue_stride_um=192.0, samples_per_shard=15)


def built(table, folder):
    todo = build.units(CONFIG, table)
    assert not map_in_processes(todo, build.cut, folder, 1, describe=build.describe)
    return build.write_manifest(CONFIG, table, todo, folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    built(write_corpus(folder / "slides"), folder / "shards")
    return folder


@pytest.fixture
def made(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "made"))


def of_indices(folder):
    manifest = read_manifest(folder / "manifest.json")
    return np.concatenate([np.load(index_path(folder / shard.name))["seed"] for shard in manifest.shards])


def test_they_are_those_of_the_indices_in_the_manifests_order(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    seeds = read_seeds(folder, manifest)
    assert seeds.dtype == np.uint8 and np.array_equal(seeds, of_indices(folder))
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
    assert np.array_equal(read_seeds(folder, new), of_indices(folder))
    assert seeds_name(old) in [finding.shard for finding in verify_corpus(folder, 1).warnings]
    assert seeds_name(old) in build.superseded(folder) and seeds_name(new) not in build.superseded(folder)
    build.prune(folder)
    assert [path.name for path in folder.glob("seeds-*")] == [seeds_name(new)]


def test_an_index_that_was_changed_behind_the_manifests_back_is_not_believed(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    path = index_path(folder / manifest.shards[0].name)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(RuntimeError, match=path.name):
        publish_seeds(folder, manifest.shards)


def test_seeds_that_records_hold_are_those_of_the_indices_which_must_be_there(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    packed = {shard.name: pack_seeds(np.load(index_path(folder / shard.name))["seed"]) for shard in manifest.shards}
    some = dict(list(packed.items())[1:])
    found = [publish_seeds(folder, manifest.shards, known) for known in (None, packed, some)]
    assert found == [manifest.facts["seeds"]] * 3
    short = packed | {manifest.shards[0].name: pack_seeds(np.zeros(3))}
    with pytest.raises(RuntimeError, match=manifest.shards[0].name):
        publish_seeds(folder, manifest.shards, short)
    index_path(folder / manifest.shards[1].name).unlink()
    with pytest.raises(RuntimeError, match=f"{manifest.shards[1].name}.*index is gone"):
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


def test_verify_finds_seeds_that_agree_with_the_manifest_and_not_with_an_index(made):
    folder = made / "shards"
    manifest = read_manifest(folder / "manifest.json")
    true = read_seeds(folder, manifest)
    swapped = [*manifest.shards[1:], manifest.shards[0]]
    tree = json.loads((folder / "manifest.json").read_text())
    tree["facts"]["seeds"] = publish_seeds(folder, swapped)
    (folder / "manifest.json").write_text(json.dumps(tree))
    assert not np.array_equal(read_seeds(folder, read_manifest(folder / "manifest.json")), true)
    found = damage_of(folder)
    assert found and all("does not say what the index of" in text for text in found)


def test_a_name_that_leads_out_of_the_folder_is_damage(made):
    folder = made / "shards"
    tree = json.loads((folder / "manifest.json").read_text())
    tree["facts"]["seeds"]["name"] = "../seeds.npy"
    (folder / "manifest.json").write_text(json.dumps(tree))
    assert damage_of(folder) == ["manifest.json: the name of the seeds, '../seeds.npy', leads out of the folder"]
