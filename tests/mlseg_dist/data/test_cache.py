"""Node-local copies: what was copied is read there, never more than the budget, never a damaged one, and never a stop."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlseg_core.files import sha256_file
from mlseg_dist.data.cache import ShardCache, ShardFile
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.run_folder import shards_folder
from shards.manifest import ShardEntry
from shards.tar import size_and_index_sha256, write_shard
from tests.mlseg_dist.tiny_run import tiny_run
from tests.shards.tars import index_of, replace_index

ROOT = Path(__file__).parents[3]


def eventually(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@pytest.fixture
def sources(tmp_path):
    """Six shards of about 100 kB."""
    folder = tmp_path / "shards"
    folder.mkdir()
    found = []
    for number in range(6):
        path = folder / f"s{number}.tar"
        noise = np.random.default_rng(number).bytes(100_000)
        write_shard(path, [(f"s+{number}", {"bin": noise})])
        size, index_sha256 = size_and_index_sha256(path)
        facts = {"sha256": sha256_file(path), "samples": 1, "slide": "s", "split": "train"}
        entry = ShardEntry(name=path.name, bytes=size, index_sha256=index_sha256, **facts)
        found.append(ShardFile(folder, entry))
    return found


def held(folder):
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def copies(folder):
    return sorted(path.name.split("-", 1)[1] for path in folder.glob("*.tar") if not path.name.startswith("."))


def cache_of(folder, budget=10**9):
    return ShardCache(folder, budget, lambda: None)


def test_what_is_wanted_now_is_copied_first_and_byte_for_byte(sources, tmp_path):
    cache = cache_of(tmp_path / "cache", 250_000)
    cache._wanted[1] = (sources[5:6], sources[1:2])  # another lane, before the thread starts
    cache.want(0, sources[4:5], sources[:1])
    eventually(lambda: cache.copied_bytes > 200_000)
    time.sleep(0.2)
    cache.close()
    assert copies(cache.folder) == ["s4.tar", "s5.tar"], "the windows after find no room"
    for source in sources[4:]:
        copy = cache.copy_of(source)
        assert copy.read_bytes() == source.path.read_bytes()
    assert cache.copy_of(sources[0]) is None


def test_the_budget_holds_at_every_moment_and_old_copies_make_room(sources, tmp_path):
    budget = 345_000
    cache = cache_of(tmp_path / "cache", budget)
    for number in range(6):
        cache.want(0, [sources[number]], [])
        end = time.monotonic() + 20
        while cache.copy_of(sources[number]) is None:
            assert held(cache.folder) <= budget
            assert time.monotonic() < end
        for path in cache.folder.glob("*.tar"):  # long unwanted
            os.utime(path, (1, 1 + number if sources[number].cached_name == path.name else path.stat().st_mtime))
    cache.close()
    assert held(cache.folder) <= budget
    assert copies(cache.folder) == ["s3.tar", "s4.tar", "s5.tar"]


def test_a_copy_that_some_rank_wanted_lately_is_not_removed(sources, tmp_path):
    cache = cache_of(tmp_path / "cache", 250_000)
    cache.want(0, sources[:2], [])
    eventually(lambda: len(copies(cache.folder)) == 2)
    cache.close()
    other = cache_of(tmp_path / "cache", 250_000)
    other.want(0, sources[2:3], [])
    time.sleep(0.5)
    other.close()
    assert copies(cache.folder) == ["s0.tar", "s1.tar"]


@pytest.mark.filterwarnings("error")
def test_ranks_of_a_node_copy_each_shard_once(sources, tmp_path):
    ranks = [cache_of(tmp_path / "cache") for _ in range(4)]
    for number, rank in enumerate(ranks):
        rank.want(0, sources[number % 2 :], sources)
    eventually(lambda: len(copies(tmp_path / "cache")) == 6)
    for rank in ranks:
        rank.close()
    assert sum(rank.copied_bytes for rank in ranks) == held(tmp_path / "cache")


def test_a_copy_that_a_killed_rank_began_is_begun_anew_and_a_living_one_is_left_alone(sources, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    parts = [folder / f".tmp-{source.cached_name}" for source in sources[:2]]
    for part in parts:
        part.write_bytes(b"half")
    with open(parts[1], "rb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        cache = cache_of(folder)
        cache.want(0, sources[:2], [])
        eventually(lambda: copies(folder) == ["s0.tar"])
        time.sleep(0.2)
        cache.close()
    assert copies(folder) == ["s0.tar"] and parts[1].read_bytes() == b"half"


def test_a_shard_that_is_not_the_manifests_is_not_copied(sources, tmp_path):
    sources[0].path.write_bytes(sources[0].path.read_bytes()[:-512])
    index = index_of(sources[1].path)
    index["crc32c"] += 1
    replace_index(sources[1].path, index)
    sources[2].path.unlink()
    cache = cache_of(tmp_path / "cache")
    cache.want(0, sources[:4], [])
    eventually(lambda: copies(cache.folder) == ["s3.tar"])
    time.sleep(0.2)
    cache.close()
    assert copies(cache.folder) == ["s3.tar"]
    assert not [path for path in cache.folder.iterdir() if path.name.startswith(".tmp-s")]


_ON_A_FULL_DISK = """
import resource, signal, sys, time, warnings
from pathlib import Path
from mlseg_dist.data.corpus import Corpus
run, cache = map(Path, sys.argv[1:])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import yaml
    corpus = Corpus(run / "data" / "shards", eval(sys.stdin.read()))
    corpus.use_cache(cache, 10**9)
    for lane in range(3):
        corpus.prefetch(lane, range(lane, len(corpus.manifest.shards)), [])
        time.sleep(0.2)
    for number in corpus.numbers("train"):
        corpus.read(corpus.ref(int(number)))
print([str(w.message) for w in said if "read directly" in str(w.message)], list(p.name for p in cache.iterdir()))
"""


def test_a_disk_that_takes_no_more_is_told_of_once_and_shards_are_read_directly(tmp_path):
    """A limit on the size of files stands in for a full disk: the system refuses to write."""
    run = tiny_run(tmp_path)
    said = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, run.path, tmp_path / "cache"],
        input=repr(run.config.training_classes),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout
    assert said.count("no more shards are copied here") == 1 and ".tar" not in said


@pytest.fixture
def corpus(tmp_path):
    run = tiny_run(tmp_path)
    corpus = Corpus(shards_folder(run.path), run.config.training_classes)
    corpus.use_cache(tmp_path / "cache", 10**9)
    corpus.prefetch(0, range(len(corpus.manifest.shards)), [])
    eventually(lambda: len(copies(corpus.cache.folder)) == len(corpus.manifest.shards))
    yield corpus
    corpus.cache.close()


def test_copies_are_read_and_the_shards_are_not(corpus):
    expected = Corpus(corpus.folder, dict.fromkeys(corpus.manifest.classes, 0))
    members = [expected.read(expected.ref(number)) for number in range(10)]
    refs = [corpus.ref(number) for number in range(10)]
    for shard in corpus.manifest.shards:
        (corpus.folder / shard.name).write_bytes(b"")
    assert [corpus.read(ref) for ref in refs] == members


@pytest.mark.parametrize("where", ["tar", "index"])
def test_a_damaged_copy_is_dropped_and_the_shard_is_read(corpus, where):
    ref = corpus.ref(int(corpus.numbers("train")[2]))
    source = ShardFile(corpus.folder, corpus.manifest.shards[ref.shard])
    copy = corpus.cache.copy_of(source)
    expected = Corpus(corpus.folder, dict.fromkeys(corpus.manifest.classes, 0)).read(ref)
    row = index_of(copy)[ref.row]
    if where == "tar":
        data = bytearray(copy.read_bytes())
        data[int(row["offset"][0]) + 5] ^= 1
        copy.write_bytes(data)
    else:
        copy.write_bytes(copy.read_bytes()[:-400])
    assert corpus.read(ref) == expected
    assert not copy.exists() and corpus.cache.copy_of(source) is None
    assert corpus.read(ref) == expected


def test_damage_in_the_shard_itself_is_told_though_a_copy_was_tried(corpus):
    ref = corpus.ref(int(corpus.numbers("train")[2]))
    source = ShardFile(corpus.folder, corpus.manifest.shards[ref.shard])
    for path in (corpus.cache.copy_of(source), source.path):
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(BadPair, match=str(source.path)):
        corpus.read(ref)


def test_a_copy_that_another_rank_removes_is_let_go_and_may_come_back(corpus):
    ref = corpus.ref(int(corpus.numbers("train")[0]))
    source = ShardFile(corpus.folder, corpus.manifest.shards[ref.shard])
    corpus.read(ref)
    copy = corpus.cache.copy_of(source)
    corpus.cache.close()
    assert _open_handles(copy)
    copy.unlink()
    corpus.open.forget_gone(corpus.cache.folder)
    assert not _open_handles(copy), "its space is free"
    assert corpus.read(ref) and source.cached_name not in corpus.cache._spoilt


def _open_handles(path: Path) -> int:
    """How many of this process's handles are of the file, removed or not."""
    found = 0
    for handle in Path("/proc/self/fd").iterdir():
        try:
            found += str(handle.readlink()).startswith(str(path))
        except OSError:
            continue
    return found
