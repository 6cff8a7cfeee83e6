"""`mlseg predict --cluster` on a real SLURM: killed tasks, quarantine, going on, and what is refused before anything is queued."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from mlseg_core.files import read_json, sha256_file
from tests.cluster.conftest import slurm  # noqa: F401  (a fixture)
from tests.launch.test_predict import MPP, made, mlseg, run  # noqa: F401  (fixtures)
from tests.shards.slides_for_tests import write_slide

pytestmark = pytest.mark.cluster
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path):
    """Writes a cluster file with these keys of its block `predict`."""

    def write(retries: int = 3, **predict: object) -> Path:
        path = tmp_path / "mysite.yaml"
        cluster = {"executor": "slurm", "default": {"time": 60}, "predict": {"workers": 2, **predict}}
        path.write_text(yaml.safe_dump({"cluster": {**cluster, "retries": retries}}))
        return path

    return write


def start(host, *words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "launch.cli", "predict", *map(str, words)]
    return subprocess.Popen(
        command, cwd=PROJECT, env=host.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said, _ = process.communicate(timeout=900)
    return process.returncode, said


def queue(host) -> str:
    return host.run("squeue", "-h", "-t", "PENDING,RUNNING,CONFIGURING,COMPLETING")


def process_at_work(out: Path) -> int:
    """Process id of a worker that is in the middle of a slide."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        busy = any('"at": "' in text and '"at": ""' not in text for text in map(_text, out.glob("progress/[0-9].json")))
        found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_worker(path, out)] if busy else []
        if found:
            return found[0]
        time.sleep(0.02)
    raise TimeoutError("no worker began a slide")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _is_worker(process: Path, out: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        environment = (process / "environ").read_bytes()
    except OSError:
        return False
    is_python = b"submitit.core._submit" in words and not words[0].endswith(b"srun")
    return is_python and any(str(out).encode() in word for word in words) and b"SLURM_PROCID=" in environment


def quarantined(out: Path) -> list[list[str]]:
    with (out / "quarantine.csv").open() as file:
        return list(csv.reader(file))[1:]


def test_killed_in_a_slide_it_is_done_again_and_gives_what_one_process_gives(slurm, site, run, tmp_path) -> None:  # noqa: F811
    """The only worker is killed; the job at the end plans again. A bad slide: status 1. Nothing is done twice afterwards."""
    big = np.tile(tifffile.imread(run.parent / "slides" / "b.tif"), (2, 2, 1))
    write_slide(tmp_path / "big.tif", big, mpp=MPP)
    write_slide(tmp_path / "dark.tif", np.full((512, 512, 3), 5, np.uint8), mpp=MPP)
    table, out = run.parent / "slides" / "slides.csv", tmp_path / "out"
    words = [run, tmp_path / "big.tif", tmp_path / "dark.tif", table, "--everywhere"]
    process = start(slurm, *words, "--out", out, "--cluster", site(workers=1))
    os.kill(process_at_work(out), signal.SIGKILL)
    status, said = ended(process)
    assert status == 1, said
    assert "queued 6 slides, 1 jobs; to end them: scancel " in said
    assert f"{tmp_path / 'dark.tif'}: quarantined. inverted: " in said
    (request,) = (out / "cluster").iterdir()
    assert len(list((request / "plans").glob("*.json"))) == 2, "the job at the end planned again"
    assert [row[0] for row in quarantined(out)] == [str(tmp_path / "dark.tif")]
    assert len(list(out.glob("*/summary.json"))) == 5
    there = {path: path.stat().st_mtime_ns for path in out.glob("*/summary.json")}
    good = [word for word in words if word != tmp_path / "dark.tif"]
    status, said = ended(start(slurm, *good, "--out", out, "--cluster", site()))
    assert status == 0 and "queued" not in said and not (out / "quarantine.csv").exists(), said
    assert mlseg("predict", *good, "--out", tmp_path / "here") == 0
    for path in there:
        here = tmp_path / "here" / path.parent.name
        assert there[path] == path.stat().st_mtime_ns
        assert {f.name: sha256_file(f) for f in here.iterdir()} == {
            f.name: sha256_file(f) for f in path.parent.iterdir()
        }


def test_nobody_waits_then_the_same_command_comes_back_and_workers_share_the_slides(slurm, site, run, tmp_path) -> None:  # noqa: F811
    out, slides = tmp_path / "out", [*sorted((run.parent / "slides").glob("*.tif"))]
    many = []
    for number in range(6):
        many.append(tmp_path / f"s{number}.tif")
        many[-1].write_bytes(slides[number % len(slides)].read_bytes())
    words = [
        run,
        *many,
        "--mpp",
        MPP,
        "--out",
        out,
        "--cluster",
        site(setup=["sleep 45"]),
    ]  # the queue outlasts the start
    status, said = ended(start(slurm, *words, "--no-wait"))
    assert status == 0 and "queued 6 slides, 2 jobs" in said, said
    jobs = queue(slurm)
    waiting = start(slurm, *words)
    assert waiting.stdout is not None
    assert any("in the queue already" in line for line in iter(waiting.stdout.readline, "")), "it attends now"
    time.sleep(2)
    waiting.send_signal(signal.SIGINT)
    status, said = ended(waiting)
    assert status == 75 and "the jobs go on; to end them: scancel" in said, said
    status, said = ended(start(slurm, *words))
    assert status == 0 and len(list(out.glob("s?-*/classes.ome.tif"))) == 6, said + jobs
    assert len(list(out.glob("progress/[0-9].json"))) == 2
    (_,) = (out / "cluster").glob("*/plans/*.json")
    assert mlseg("predict", *words[:-2]) == 0, "going on here instead"


def test_where_jobs_always_die_it_gives_up_and_says_where_to_look(slurm, site, run, tmp_path) -> None:  # noqa: F811
    out = tmp_path / "out"
    cluster = site(retries=1, setup=["exit 3"])
    words = [run, run.parent / "slides" / "b.tif", "--mpp", MPP, "--out", out, "--cluster", cluster]
    status, said = ended(start(slurm, *words))
    assert status == 1 and "1 slides are left, as jobs failed again and again" in said, said
    assert len(list((out / "cluster").glob("*/plans/*.json"))) == 2
    status, said = ended(start(slurm, *words[:-1], site()))
    assert status == 0, said


def test_whoever_cancels_the_jobs_gets_none_again(slurm, site, run, tmp_path) -> None:  # noqa: F811
    out, cluster = tmp_path / "out", site(setup=["sleep 600"])
    words = [run, run.parent / "slides" / "b.tif", "--mpp", MPP, "--out", out, "--cluster", cluster]
    process = start(slurm, *words)
    slurm.wait_for(lambda: list(out.glob("cluster/*/plans/0001.json")), 120)
    (plan,) = out.glob("cluster/*/plans/0001.json")
    slurm.run("scancel", *read_json(plan)["jobs"]["predict"].values())
    status, said = ended(process)
    assert status == 75 and "the jobs were cancelled" in said, said
    assert not queue(slurm) and len(list(out.glob("cluster/*/plans/*.json"))) == 1


@pytest.mark.parametrize(
    ("predict", "slide", "said"),
    [
        ({}, "none.svs", "no such slide"),
        (
            {"partition": "gpu"},
            "b.tif",
            "cluster.predict.partition=gpu: SLURM has no such partition. There are: low, high",
        ),
        ({"gpus": 1}, "b.tif", "cluster.predict.gpus=1: no node of partition low has a GPU"),
        ({"retry": {"mem": "1T"}}, "b.tif", "cluster.predict.retry.mem=1T: "),
        (None, "b.tif", "no cluster 'nowhere'"),
        ({"workerz": 2}, "b.tif", "workerz"),
    ],
)
def test_a_mistake_is_told_in_2_s_before_anything_is_queued(slurm, site, run, tmp_path, predict, slide, said) -> None:  # noqa: F811
    out, cluster = tmp_path / "out", "nowhere" if predict is None else site(**predict)
    slides = run.parent / "slides"
    code = (
        "import sys, time; from launch.cli import main; s = main(sys.argv[1:]);"
        "print(s, 'torch' in sys.modules, time.process_time() < 2, time.process_time())"
    )
    words = ["predict", run, slides / slide, "--mpp", MPP, "--out", out, "--cluster", cluster]
    answer = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=PROJECT, env=slurm.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.stdout.startswith("2 False True"), answer.stdout + answer.stderr
    assert said in answer.stderr and answer.stderr.count("\n") == 1, answer.stderr
    assert not out.exists() and not queue(slurm)
