"""The benchmark of scale counts what it says it counts, and its crowd loses nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.processes import ROOT
from benchmarks.scale import crowd, traced
from benchmarks.scale.campaign import ROUND, STEP, make_campaign
from benchmarks.scale.cost import PUBLISHED_GMAC, PUBLISHED_IMAGES_S, assumed_rates, estimates, gmac, on
from benchmarks.scale.job import _PARTS
from benchmarks.scale.page import Result, Size, Table, exponent, lies_in_memory, markdown
from launch.cli import main as mlseg
from launch.run_folder import RunFolder
from mlseg_core.exactly_once.run import Unit, merge
from mlseg_core.files import fingerprint
from mlseg_dist import labelling
from mlseg_dist.run_folder import labels_folder
from shards.manifest import read_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def run(folder) -> RunFolder:
    return make_campaign(folder, 3000, 30)


needs_strace = pytest.mark.skipif(not traced.is_there(), reason="strace is missing or may not trace")

BUSY = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
for number in range(7):
    with open(folder / f"{number}", "wb") as file:
        file.write(bytes(1000))
        file.flush()
        os.fsync(file.fileno())
    os.rename(folder / f"{number}", folder / f"{number}.done")
    os.stat(folder / f"{number}.done")
    (folder / f"{number}.done").read_bytes()
os.link(folder / "0.done", folder / "twin")
os.unlink(folder / "twin")
"""


@needs_strace
def test_calls_in_the_folder_are_counted_and_others_are_not(tmp_path):
    _, counts = traced.trace([sys.executable, "-c", BUSY, str(tmp_path)], tmp_path)
    calls = counts.calls
    assert (calls["openat"], calls["rename"], calls["fsync"], calls["link"], calls["unlink"]) == (14, 7, 7, 1, 1)
    assert calls["newfstatat"] == 7 and calls["fstat"] >= 14, "a stat of an open file is apart"
    assert (counts.read, counts.written) == (7000, 7000)
    assert (counts.metadata, counts.syncs) == (14 + 7 + 7 + 2, 7)


def test_a_write_cut_off_by_a_kill_counts_as_a_call_of_no_bytes(tmp_path):
    lines = [
        f'7 write(3<{tmp_path}/a>, ""..., 10) = 10\n',
        f'7 write(3<{tmp_path}/a>, ""..., 10 <unfinished ...>\n',
        "7 <... write resumed>) = 18446744073709551104\n",
        "7 +++ killed by SIGKILL +++\n",
        f'8 write(3<{tmp_path}/b>, ""..., 10) = -1 ENOSPC (No space left on device)\n',
    ]
    counts = traced.count(lines, tmp_path)
    assert (counts.written, counts.calls["write"]) == (10, 3)


@needs_strace
def test_calls_of_threads_that_interrupt_each_other_count_once(tmp_path):
    code = """
import sys, threading
def work(n):
    for i in range(100):
        with open(f"{sys.argv[1]}/{n}-{i}", "wb", buffering=0) as file:
            file.write(bytes(10))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
"""
    _, counts = traced.trace([sys.executable, "-c", code, str(tmp_path)], tmp_path)
    assert (counts.calls["openat"], counts.written) == (800, 8000)


def test_the_campaign_is_one_that_the_planner_reads(run):
    assert _PARTS["decide"]()(run.path)["missing"][:3] == ["generators", "style", f"label-{ROUND}"]
    assert _PARTS["plan"]()(run.path) == {"status": 0, "pairs": 3000}
    assert len(read_manifest(labels_folder(run.path, 1) / "manifest.json").shards) == 30


def test_a_round_in_which_processes_die_is_complete_and_believed(run, folder):
    units, labels = labelling.units(run.config(), STEP, run.path), labels_folder(run.path, ROUND)
    task = folder / "task.json"
    crowd.write_task(task, units, labels, deaths=6, workers=8)
    happened = crowd.work(task, processes=2)
    assert happened.deaths > 0
    assert len(merge(units, labels)) == 30
    assert _PARTS["merge"]()(run.path)["manifest_bytes"] > 1000
    assert _PARTS["believe"]()(run.path) == {"samples": 3000}
    assert len(list(labels.glob("*.tar"))) == 30 and not list(labels.rglob(".tmp-*"))


@needs_strace
def test_workers_do_not_read_each_others_records(tmp_path):
    """With every worker reading every record, 24 workers would make 24 x 150 more opens and as many stats."""
    units = [
        Unit(f"u{n:03d}", fingerprint(n), (None, None, None, f"u{n:03d}.tar", f"u{n:03d}-l.tar"), 3) for n in range(150)
    ]
    found = []
    for workers in (1, 25):
        folder = tmp_path / str(workers)
        folder.mkdir()
        crowd.write_task(tmp_path / "task.json", units, folder, deaths=0, workers=workers)
        command = [sys.executable, "-m", "benchmarks.scale.crowd", str(tmp_path / "task.json"), "1"]
        found.append(traced.trace(command, folder, cwd=ROOT)[1])
    alone, many = found
    again = many.calls["link"] - alone.calls["link"]  # units that two workers did at once, and what each start probes
    assert alone.metadata / 150 < 7.5
    assert many.metadata - alone.metadata < 24 * 40 + again * 9


def test_costs_are_those_of_plan_from_a_file_that_says_that_it_is_assumed(run, folder, capsys):
    path = folder / "rates.json"
    found = {estimate.phase.name: estimate.costs for estimate in estimates(folder, path)}
    base = found["base"]
    one = base[1].gpu_hours
    assert one is not None and base[1].work == 20 * 12_000_000 and base[8].gpu_hours == pytest.approx(one)
    assert base[64].gpu_hours == pytest.approx(one * 64 / 57)
    assert json.loads(path.read_text())["assumed"] is True
    shipped = json.loads((ROOT / "benchmarks/results/scale-rates.json").read_text())["rates"]
    networks = {rate["network"] for rate in json.loads(path.read_text())["rates"]}
    assert networks == {rate["network"] for rate in shipped}, "the results page names a config of other networks"
    config = on(ROOT / "configs/recommended.yaml", folder, 1)
    (rate,) = [rate for rate in assumed_rates(config, 1) if rate.phase == "master-1"]
    step = config.steps[1].model
    assert rate.per_s * gmac(step, 4, 512) == pytest.approx(PUBLISHED_IMAGES_S * PUBLISHED_GMAC)
    one_gpu = ["cluster.train.tasks_per_node=1", "cluster.train.gpus=1", "train.epoch_draws=12000000"]
    assert mlseg(["plan", str(run.path), "--json", "--rates", str(path), *one_gpu]) == 0
    said = {phase["name"]: phase["expected"] for phase in json.loads(capsys.readouterr().out)["phases"]}
    assert said["master-2"]["gpu_hours"] == pytest.approx(found["master-2"][1].gpu_hours, rel=0.01)


def test_growth_is_the_slope_and_a_missed_goal_is_said():
    assert exponent([1, 10, 100], [3, 30, 300]) == pytest.approx(1)
    assert exponent([1, 10], [5, 500]) == pytest.approx(2)
    table = Table()
    for pairs, seconds in ((1_000_000, 1.0), (10_000_000, 100.0)):
        said = {"seconds": seconds, "cpu_s": seconds, "imports_s": 1.0, "peak_mib": 100.0}
        table.rows[Size(pairs, pairs // 1000)] = {"merge": Result(said)}
    page = markdown(table, [], "command", 60.0)
    assert "| merge < 60 s | 1 M in 1,000 | 1.0 s | met |" in page
    assert "| merge < 60 s | 10 M in 10,000 | 100.0 s | **missed** |" in page
    assert "**faster than linearly**" in page and "Not counted" in page
    assert "tmpfs" not in page
    table.in_memory = True
    assert "label-2 is to do. The corpora lay in memory (tmpfs)" in markdown(table, [], "command", 60.0)


def test_where_corpora_lie():
    assert lies_in_memory(Path("/dev/shm")) and not lies_in_memory(Path("/proc"))


def test_the_command(tmp_path):
    words = [
        sys.executable,
        "-m",
        "benchmarks.scale",
        "--smoke",
        "--folder",
        str(tmp_path),
        "--out",
        str(tmp_path / "page.md"),
    ]
    code = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert code.returncode == 0, code.stderr
    page = (tmp_path / "page.md").read_text()
    assert page.count("one round, 256 workers") >= 2 and "## Cost on paper" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page-rates.json", "page.md"], "the corpora are gone"
