"""Who a slide file is: changes in place are seen, planning reads little, and a full hash settles the rest."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import yaml

from launch.cli import main
from shards.cutting.identity import Known, file_state, recognise, slide_identity, slide_sha256
from tests.shards.slides_for_tests import ROOT, shards_config, write_corpus

MIB = 1 << 20


def big(path, size, seed=0):
    """A file of `size` bytes without repetition."""
    with open(path, "wb") as file:
        for number in range(-(-size // MIB)):
            block = hashlib.sha256(f"{seed} {number}".encode()).digest() * (MIB // 32)
            file.write(block[: min(MIB, size - number * MIB)])
    return path


def zero(path, start, length):
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bytes(length))


def flip(path, start):
    """Another value for one byte: zeroing it would change nothing where it is zero already."""
    with open(path, "r+b") as file:
        file.seek(start)
        byte = file.read(1)[0]
        file.seek(start)
        file.write(bytes([byte ^ 0xFF]))


@pytest.mark.parametrize("start", [3 * MIB, 31 * MIB + 4711, 61 * MIB])
def test_a_megabyte_and_a_half_zeroed_anywhere_is_another_slide(tmp_path, start):
    path = big(tmp_path / "s.svs", 64 * MIB)
    before = slide_identity(path)
    zero(path, start, 1_500_000)
    assert slide_identity(path) != before and path.stat().st_size == 64 * MIB


def test_the_same_bytes_under_another_name_are_the_same_slide(tmp_path):
    one, two = big(tmp_path / "a.svs", MIB + 7), big(tmp_path / "b.svs", MIB + 7)
    assert slide_identity(one) == slide_identity(two)
    for number, folder in enumerate(("1.2.3", "1.2.4")):
        (tmp_path / folder).mkdir()
        big(tmp_path / folder / f"image{number}.dcm", 2 * MIB)
    assert slide_identity(tmp_path / "1.2.3") == slide_identity(tmp_path / "1.2.4")


def test_planning_reads_windows_only_and_nothing_of_a_slide_that_it_knows(tmp_path):
    path = tmp_path / "s.svs"
    with open(path, "wb") as file:
        file.truncate(2 << 30)  # sparse: 2 GiB that take no room
    code = (
        "import sys; from pathlib import Path; from shards.cutting.identity import recognise\n"
        "path = Path(sys.argv[1]); known = recognise(path, None)\n"
        "def read(): return int(open('/proc/self/io').read().split('rchar: ')[1].split()[0])\n"
        "a = read(); recognise(path, known); b = read(); print(known.identity[:3], b - a)\n"
    )
    counted = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    form, again = counted.stdout.split()
    assert form == "w2:" and int(again) < 10_000, "only the counter itself was read"
    code = code.replace("known = recognise(path, None)", "known = None").replace("known.identity[:3]", "'w2:'")
    counted = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 2 * MIB < int(counted.stdout.split()[1]) < 12 * MIB, "of 2 GiB"


def test_a_new_time_alone_asks_for_the_full_hash_where_one_is_known(tmp_path):
    path = big(tmp_path / "s.svs", 8 * MIB)
    known = Known(file_state(path), slide_identity(path), slide_sha256(path))
    assert slide_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    os.utime(path, ns=(1, known.state.mtime_ns + 1))
    touched = recognise(path, known)
    assert touched.identity == known.identity and touched.state != known.state
    zero(path, 4 * MIB + 5000, 100)  # between two windows
    assert slide_identity(path) == known.identity, "the windows do not see it"
    changed = recognise(path, known)
    assert changed.identity == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert recognise(path, Known(known.state, known.identity)).identity == known.identity, (
        "nobody asked for a full hash"
    )


@pytest.fixture
def corpus(tmp_path):
    table = write_corpus(tmp_path / "slides")
    big_tail(tmp_path / "slides/s1.tif")
    config = tmp_path / "shards.yaml"
    config.write_text(yaml.safe_dump(shards_config().model_dump(mode="json")))
    words = [str(config), "--slides", str(table), "--out", str(tmp_path / "shards")]
    return tmp_path, words


def big_tail(path):
    with open(path, "ab") as file:
        file.write(os.urandom(4 * MIB))


def actions(words, capsys):
    capsys.readouterr()
    assert main(["shards", "regenerate", *words, "--dry-run", "--json"]) == 0
    return {entry["slide"]: entry["action"] for entry in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize("asked", ["while cutting", "by verify"])
def test_with_a_full_hash_a_change_of_one_byte_is_seen_even_under_the_old_time(corpus, capsys, asked):
    folder, words = corpus
    more = ["hash_slides=true"] if asked == "while cutting" else []
    assert main(["shards", "build", *words, *more]) == 0
    table, slide = words[2], folder / "slides/s1.tif"
    if asked == "by verify":
        assert main(["shards", "verify", str(folder / "shards"), "--slides", table]) == 0
    recorded = json.loads((folder / "shards/slide-identities.json").read_text())["slides"]
    assert recorded["s1"]["sha256"] == hashlib.sha256(slide.read_bytes()).hexdigest()
    assert set(actions(words, capsys).values()) == {"keep"}
    stat = slide.stat()
    flip(slide, stat.st_size - 2 * MIB - 77)  # between two windows
    os.utime(slide, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert set(actions(words, capsys).values()) == {"keep"}, "size, time and windows are as they were"
    assert main(["shards", "verify", str(folder / "shards"), "--slides", table]) == 1
    assert "s1: the slide file changed: sha256 mismatch" in capsys.readouterr().out
    assert actions(words, capsys) == {"s0": "keep", "s1": "cut", "s2": "keep"}
    assert main(["shards", "regenerate", *words]) == 0
    assert main(["shards", "verify", str(folder / "shards"), "--slides", table]) == 0


def test_a_touched_slide_stays_and_is_named(corpus, capsys):
    folder, words = corpus
    assert main(["shards", "build", *words]) == 0
    os.utime(folder / "slides/s1.tif", ns=(1, 10**18))
    capsys.readouterr()
    assert main(["shards", "build", *words]) == 0
    assert "s1: the modification time is new" in capsys.readouterr().err
    assert main(["shards", "build", *words]) == 0
    assert "modification time" not in capsys.readouterr().err, "it was told once"


def test_verify_tells_a_slide_that_was_replaced(corpus, capsys):
    folder, words = corpus
    assert main(["shards", "build", *words]) == 0
    (folder / "slides/s0.tif").write_bytes((folder / "slides/s2.tif").read_bytes())
    assert main(["shards", "verify", str(folder / "shards"), "--slides", words[2]]) == 1
    assert "s0: the slide file changed since it was cut" in capsys.readouterr().out


def test_the_same_slide_in_two_splits_is_refused_and_both_rows_are_named(corpus, capsys):
    folder, words = corpus
    (folder / "slides/s2.tif").write_bytes((folder / "slides/s0.tif").read_bytes())
    assert main(["shards", "build", *words]) == 2
    said = capsys.readouterr().err
    assert "'s0.tif' (line 2, train) and 's2.tif' (line 4, test) have the same content" in said
    assert not (folder / "shards/manifest.json").exists()


def test_the_same_slide_is_noticed_after_a_full_hash_contradicted_its_windows(corpus, capsys):
    folder, words = corpus
    slide, double = folder / "slides/s1.tif", folder / "slides/t1.tif"
    assert main(["shards", "build", *words, "hash_slides=true"]) == 0
    stat = slide.stat()
    flip(slide, stat.st_size - 2 * MIB - 77)  # between two windows
    os.utime(slide, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert main(["shards", "verify", str(folder / "shards"), "--slides", words[2]]) == 1
    double.write_bytes(slide.read_bytes())
    table = folder / "slides/slides.csv"
    table.write_text(table.read_text() + "t1.tif,P9,ER,Philips,DS1,train,s1.geojson,,\n")
    assert main(["shards", "regenerate", *words]) == 2
    assert "'s1.tif' (line 3, val) and 't1.tif' (line 5, train) have the same content" in capsys.readouterr().err


def test_slides_that_differ_between_windows_only_are_two(corpus):
    folder, words = corpus
    slide, other = folder / "slides/s1.tif", folder / "slides/t1.tif"
    other.write_bytes(slide.read_bytes())
    flip(other, other.stat().st_size - 2 * MIB - 77)
    assert slide_identity(slide) == slide_identity(other)
    table = folder / "slides/slides.csv"
    table.write_text(table.read_text() + "t1.tif,P9,ER,Philips,DS1,train,s1.geojson,,\n")
    assert main(["shards", "build", *words]) == 0


def test_keys_added_since_are_not_written_into_the_config_of_an_earlier_run():
    config = shards_config()
    assert "hash_slides" not in config.model_dump(mode="json") and "hash_slides" not in config.model_dump()
    hashed = shards_config(hash_slides=True)
    assert hashed.model_dump(mode="json")["hash_slides"] is True and hashed.decides() == config.decides()


def test_in_one_split_it_is_a_warning(corpus, capsys):
    folder, words = corpus
    (folder / "slides/s3.tif").write_bytes((folder / "slides/s0.tif").read_bytes())
    table = folder / "slides/slides.csv"
    table.write_text(table.read_text() + "s3.tif,P9,ER,philips,DS1,train,s0.geojson,,\n")
    assert main(["shards", "build", *words]) == 0
    said = capsys.readouterr().err
    assert "'s0.tif' (line 2, patient 'P0'), 's3.tif' (line 5, patient 'P9')" in said
    assert "column 'scanner' has values that differ only in how they are written" in said
    assert "'Philips', 'philips'" in said
