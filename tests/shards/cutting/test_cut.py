"""Slides -> shards: same inputs, same bytes; what lies in a shard is what lies on the slide."""

import hashlib
import json
import re
import tarfile

import cv2
import numpy as np
import pytest
import webdataset

from mlseg_core.exactly_once.run import Scratch, map_in_processes
from mlseg_core.files import sha256_file
from shards import cutting
from shards.annotation import read
from shards.cutting import plan
from shards.manifest import read_manifest
from shards.reader import SlideReader
from shards.sample import MEMBERS, decode_label, decode_rgb
from shards.tar import BadShard, ShardReader, size_and_index_sha256, write_shard
from tests.shards.slides_for_tests import shards_config, square_feature, write_annotation, write_corpus

CONFIG = shards_config(tissue_stride_um=192.0, samples_per_shard=25)


def build_all(table, folder, processes=1, config=CONFIG):
    todo = cutting.units(config, table)
    map_in_processes(todo, cutting.cut, folder, processes, describe=cutting.describe)
    return cutting.write_manifest(config, table, todo, folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    table = write_corpus(folder / "slides")
    build_all(table, folder / "shards")
    return folder


def published(folder):
    kinds = (".tar", ".npy", ".idx", ".json", ".jpg", ".png", ".csv")
    files = [*folder.iterdir(), *(folder / "overview").iterdir()]
    return {str(p.relative_to(folder)): sha256_file(p) for p in files if p.suffix in kinds}


def test_one_process_or_two_give_the_same_bytes(corpus, tmp_path):
    build_all(corpus / "slides/slides.csv", tmp_path, processes=2)
    assert published(tmp_path) == published(corpus / "shards")


def test_the_manifest_tells_the_truth(corpus):
    manifest = read_manifest(corpus / "shards/manifest.json")
    keys = []
    for shard in manifest.shards:
        path = corpus / "shards" / shard.name
        assert (shard.bytes, shard.sha256) == (path.stat().st_size, sha256_file(path))
        assert (shard.bytes, shard.index_sha256) == size_and_index_sha256(path)
        with tarfile.open(path) as tar:
            names = [n.partition(".")[0] for n in tar.getnames() if n.endswith(".json")]
            seeds = [json.load(tar.extractfile(f"{n}.json"))["seed_class"] for n in names]
        assert len(names) == shard.samples <= 25
        assert {c: seeds.count(c) for c in set(seeds) - {None}} == shard.seeds
        keys += names
    assert len(set(keys)) == len(keys) == manifest.totals["samples"]
    assert keys == sorted(keys), "keys sort by slide, then position"
    assert all("." not in key for key in keys)
    train = [s for s in manifest.shards if s.split == "train"]
    assert sum(s.samples for s in train) > sum(sum(s.seeds.values()) for s in train), (
        "train also holds unannotated tissue"
    )
    for shard in manifest.of_splits("val", "test"):
        assert shard.samples == sum(shard.seeds.values()), "only train holds unannotated tissue"


def test_views_and_labels_lie_where_the_sample_says(corpus):
    """Both views show the slide about the same point; low shows what high shows in its centre quarter."""
    manifest = read_manifest(corpus / "shards/manifest.json")
    ids = {name: number for number, name in enumerate(manifest.classes)}
    checked = 0
    for shard in manifest.shards:
        with ShardReader(corpus / "shards" / shard.name, MEMBERS) as reader:
            for row in range(len(reader)):
                members = reader.read(row)
                info = json.loads(members["json"])
                high, low = decode_rgb(members["high.jpg"]), decode_rgb(members["low.jpg"])
                high_label, low_label = decode_label(members["high.png"]), decode_label(members["low.png"])
                assert high.shape == low.shape == (64, 64, 3) and high_label.shape == low_label.shape == (64, 64)
                x, y = info["center"]
                seed = info["seed_class"]
                assert high_label[32, 32] == (255 if seed is None else ids[seed])
                small = cv2.resize(high, (16, 16), interpolation=cv2.INTER_AREA).astype(int)
                assert np.abs(small - low[24:40, 24:40]).mean() < 8
                if 160 < x < 340 and 160 < y < 340:
                    assert seed == "tumour"
                    checked += 1
    assert checked >= 3


def test_webdataset_reads_our_shards(corpus):
    manifest = read_manifest(corpus / "shards/manifest.json")
    url = str(corpus / "shards" / manifest.shards[0].name)
    samples = list(webdataset.WebDataset(url, shardshuffle=False, empty_check=False))
    assert len(samples) == manifest.shards[0].samples
    assert set(samples[0]) >= set(MEMBERS)


def test_wds2idx_text_points_at_the_members(corpus):
    manifest = read_manifest(corpus / "shards/manifest.json")
    path = corpus / "shards" / manifest.shards[0].name
    lines = path.with_suffix(".idx").read_text().splitlines()
    assert lines[0] == f"v1.2 {manifest.shards[0].samples}"
    member, offset, size, name = lines[1].split(" ")[:4]
    with tarfile.open(path) as tar:
        entry = tar.getmember(name)
        assert (int(offset), int(size)) == (entry.offset_data, entry.size) and name.endswith(member)


def test_a_changed_annotation_touches_one_slide(tmp_path):
    table = write_corpus(tmp_path / "slides")
    build_all(table, tmp_path / "shards")
    before = published(tmp_path / "shards")
    write_annotation(tmp_path / "slides/s1.geojson", square_feature("Tumor", 200, 200, 600, 600))
    build_all(table, tmp_path / "shards")
    after = published(tmp_path / "shards")
    new = {name for name in after if name not in before}
    assert any(name.endswith(".tar") for name in new)
    assert all(name.removeprefix("overview/").startswith(("s1-", "seeds-")) for name in new)
    assert all(before[name] == after[name] for name in before if name != "manifest.json")


def test_damage_is_found_when_read(corpus, tmp_path):
    manifest = read_manifest(corpus / "shards/manifest.json")
    source = corpus / "shards" / manifest.shards[0].name
    data = bytearray(source.read_bytes())
    with ShardReader(source, MEMBERS) as reader:
        offset, size = (int(reader.index[3][f][0]) for f in ("offset", "size"))
    copy = tmp_path / source.name
    data[offset + size // 2] ^= 1
    copy.write_bytes(data)
    with ShardReader(copy, MEMBERS) as reader:
        reader.read(2)
        with pytest.raises(BadShard, match=re.escape(f"{reader.key(3)}.high.jpg is damaged")):
            reader.read(3)


def test_tar_bytes_do_not_depend_on_the_clock(tmp_path):
    digests = set()
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [("k", dict.fromkeys(MEMBERS, b"x"))])
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {m.mtime for m in tar} == {0}
    assert len(digests) == 1


def counted(monkeypatch, owner, name):
    """Arguments of each call of a function, which runs as ever."""
    calls, real = [], getattr(owner, name)

    def call(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(owner, name, call)
    return calls


def test_a_build_reads_its_table_once_and_each_annotation_once_before_it_cuts(corpus, tmp_path, monkeypatch):
    tables, parses = counted(monkeypatch, plan, "read_slide_table"), counted(monkeypatch, read, "parse_geojson")
    table = corpus / "slides/slides.csv"
    planned = cutting.plan_cut(CONFIG, table, tmp_path, check=True)
    assert cutting.check_slides(CONFIG, table, planned) == {}
    assert len(tables) == 1 and len(parses) == sum(unit.payload[1].annotation is not None for unit in planned.units) > 1

    again = cutting.plan_cut(CONFIG, table, corpus / "shards", check=True)
    assert again.problems == {} and again.cut == {unit.name for unit in again.units}


def test_a_slide_that_is_cut_is_shrunk_once_for_each_purpose(corpus, tmp_path, monkeypatch):
    """Its overview serves the glass, the share that cannot be decoded and the page; tissue is found at another size."""
    sizes = counted(monkeypatch, SlideReader, "_whole")
    unit = cutting.units(CONFIG, corpus / "slides/slides.csv")[0]
    scratch = Scratch(tmp_path)
    cutting.cut(unit, scratch)
    scratch.remove()
    assert len({longest for _, longest in sizes}) == len(sizes) == 2
