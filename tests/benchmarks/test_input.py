"""The input benchmark: every row delivers whole micro-batches with labels, and the page says what was measured."""

import subprocess
import sys
import time
from importlib.util import find_spec

import albumentations as A
import numpy as np
import pytest

from benchmarks.common.photo_corpus import CLASSES, training_classes, write_corpus
from benchmarks.common.processes import RowFailed
from benchmarks.input import __main__ as benchmark
from benchmarks.input.ops import LIGHT, transforms
from benchmarks.input.page import Race, heaviest, markdown
from benchmarks.input.row import BARE, LEAST, POLICIES, SOURCES, Job, Point, Tree, source_of
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.views import stored_views

STORE, PATCH = 96, 64
WITH_DALI = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("input") / "shards", 64, 4, STORE)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """One round of every row on one policy, through main: (race, page)."""
    races, page = [], tmp_path_factory.mktemp("page") / "deep/input.md"
    run = benchmark.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "POLICIES", ("master-4",))
        patch.setattr(benchmark, "_LEAST_ROUNDS", 1)
        patch.setattr(benchmark, "run", lambda *given: races.append(run(*given)) or races[0])
        arguments = ["--patch", str(PATCH), "--threads", "1", "--minutes", "0", "--out", str(page)]
        assert benchmark.main(arguments, pairs=64, store_px=STORE, seconds=0) == 0
    return races[0], page.read_text()


def test_every_row_delivers_the_same_number_of_pairs_with_labels(table):
    race, _ = table
    assert set(race.skipped) <= ({"dali"} - ({"dali"} if WITH_DALI else set())), race.skipped
    expected = {(row, "" if row in BARE else "master-4") for row in SOURCES if row not in race.skipped}
    assert set(race.points) == expected
    for (row, _), (point,) in race.points.items():
        assert point.pairs == LEAST * 16 and point.labelled > 0.5
        assert point.side == {"read": 0, "decode": STORE}.get(row, PATCH)
        assert point.seconds > 0 and point.peak_mib > 50 and point.processes == 1


def test_the_page_is_written(table):
    race, page = table
    assert page.startswith("# ") and "benchmarks.input --patch 64" in page and "webdataset 1" in page
    assert "| **ours** |" in page and "1 rounds" in page.replace("\n", " ") and "Goal: 2 times" in page
    assert page.count("\n| ") == 2 + len(race.points)  # two heads
    assert not WITH_DALI or "DALI's row does without targeted_hsv" in page


@pytest.mark.parametrize("row", ["ours", "loader", "dali", "decode"])
def test_labels_move_with_their_views(shards, row):
    """Labels follow the brightness of the photograph: where one has slipped, classes are equally bright."""
    if row == "dali" and not WITH_DALI:
        pytest.skip("NVIDIA DALI is not installed (extra cuda12)")
    job = Job(row, "" if row in BARE else "base", str(shards), PATCH, 1)
    batches = source_of(job)(job)
    high, low, high_label, low_label = (np.stack([np.asarray(one) for one in part]) for part in next(batches))
    batches.close()
    for images, labels in ((high, high_label), (low, low_label)):
        dark, bright = (images.mean(-1)[labels == c].mean() for c in range(0, 3, 2))
        assert bright - dark > 40
    assert not np.array_equal(high_label, low_label)


def test_a_row_that_fails_says_why(shards):
    with pytest.raises(RowFailed, match="512"):
        benchmark.run_row(Job("dali" if WITH_DALI else "loader", "base", str(shards / "none512"), 512, 1))


def test_shards_of_unknown_classes_are_refused_in_one_line(shards, tmp_path, capsys):
    text = (shards / "manifest.json").read_text().replace('"duct"', '"pore"')
    (tmp_path / "manifest.json").write_text(text)
    assert benchmark.main(["--shards", str(tmp_path), "--out", str(tmp_path / "out.md")]) == 2
    assert "pore" in capsys.readouterr().err and not (tmp_path / "out.md").exists()


def test_the_corpus_is_one_that_readers_take(shards):
    corpus = Corpus(shards, training_classes(Job("ours", "base", str(shards), PATCH, 1).manifest()))
    assert sum(corpus.pools().sizes) == 64 and min(corpus.pools().sizes) > 5
    views = stored_views(corpus, corpus.ref(40))
    assert views.high.shape == (STORE, STORE, 3) and set(np.unique(views.high_fine)) <= {*range(len(CLASSES)), IGNORED}
    assert not np.array_equal(views.high, views.low) and views.high.std() > 5


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_albumentations_does_every_op_with_one_draw_for_both_views(policy, light):
    ops = Job("loader", policy, "", PATCH, 1).ops()
    compose = A.Compose(
        transforms(ops, PATCH, STORE, 0.5, light), additional_targets={"low": "image", "low_label": "mask"}
    )
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (STORE, STORE, 3), np.uint8)
    label = random.integers(0, 3, (STORE, STORE), np.uint8)
    changed = 0
    for _ in range(3):
        made = compose(image=image, mask=label, low=image, low_label=label)
        assert made["image"].shape == (PATCH, PATCH, 3) and made["image"].dtype == np.uint8
        assert made["mask"].shape == (PATCH, PATCH) and set(np.unique(made["mask"])) <= {0, 1, 2, IGNORED}
        assert np.array_equal(made["mask"], made["low_label"])
        if policy == "base":
            assert np.array_equal(made["image"], made["low"])
        cut = (STORE - PATCH) // 2
        changed += not np.array_equal(made["mask"], label[cut:-cut, cut:-cut])
    assert changed


def test_cheaper_ops_take_the_place_of_dear_ones():
    ops = Job("loader", "master-4", "", PATCH, 1).ops()
    named, light = ([repr(op) for op in transforms(ops, PATCH, STORE, 0.5, way)] for way in (False, True))
    assert sum(a != b for a, b in zip(named, light, strict=True)) == len(LIGHT)


@pytest.mark.skipif(not WITH_DALI, reason="NVIDIA DALI is not installed (extra cuda12)")
def test_dali_does_or_lacks_every_op_of_the_policies():
    from benchmarks.input import dali

    warped = {"rotate", "flip", "crop", "rescale", "shift", "shear", "xy_jitter"}
    used = {op.op for policy in POLICIES for op in Job("dali", policy, "", PATCH, 1).ops()}
    assert set(dali._STRENGTHS) == set(dali._NAMESAKES)
    assert used == warped | set(dali._NAMESAKES) | set(dali.LACKING)


def test_cpu_time_and_memory_of_children_count():
    tree = Tree()
    alone, used = tree.mib(), tree.cpu_s()
    work = "import sys, time\nwhile time.process_time() < 0.5: pass\nx = bytearray(2**26)\nprint(); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        assert child.pid in tree.pids() and tree.cpu_s() - used >= 0.45 and tree.mib() - alone > 50
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()
    time.sleep(0.01)
    assert child.pid not in tree.pids()


def test_the_page_judges_the_policy_with_most_ops(shards):
    """By hand: 40 and 90 pairs in 1 s, 2 CPU s, against 10; the light one 30."""
    policies = {name: Job("ours", name, "", PATCH, 1).ops() for name in ("base", "master-3", "master-4")}
    race = Race(rounds=1)
    for policy, pairs in {"base": 90, "master-3": 40, "master-4": 50}.items():
        for row, count in {"ours": pairs, "loader": 25, "loader-light": 30}.items():
            race.points[row, policy] = [Point(row, policy, count, 1.0, 2.0, 2, 100.0, 0.9, PATCH)]
    assert heaviest(race, policies) == "master-3"
    job = Job("ours", "base", str(shards), PATCH, 2)
    page = markdown(race, policies, job, ["--threads", "2"], ("clahe",))
    assert "(master-3, 22 ops): **missed** by 20%, 1.60 times; 1.60 times by CPU time." in page
    assert "ours is 1.33 times as fast" in page and "DALI's row does without clahe." in page
    assert "| **ours** | 40.0 | 40.0–40.0 | 20.0 | 2 | 20.0 | 100 | 1.00 |" in page
    race.points["ours", "master-3"] = [Point("ours", "master-3", 60, 1.0, 2.0, 2, 100.0, 0.9, PATCH)]
    assert "(master-4, 22 ops): **reached**, 2.00 times" in markdown(race, policies, job, [], ())
