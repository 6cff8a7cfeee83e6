"""A campaign is run once: whoever asks, and wherever its folder has gone meanwhile."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cluster.commands import mlseg, status
from tests.cluster.second_user import as_nobody, need_root
from tests.cluster.slurm_host import SlurmHost
from tests.launch.conftest import tiny_campaign

pytestmark = pytest.mark.cluster


@pytest.fixture
def held(slurm, tmp_path):
    """A campaign whose first jobs run and do nothing. Returns its file; all its jobs are cancelled in the end."""
    yield from _held(slurm, tmp_path)


def _held(slurm, folder: Path):
    wait = {"workers": 2, "setup": ["sleep 600"]}
    config = tiny_campaign(folder, cluster={"executor": "slurm", "cut": wait, "train": {"nodes": 2}})
    started = mlseg(slurm, "run", config)
    assert started.returncode == 0, started.stderr
    assert f"run folder: {folder / 'runs' / 'tiny'}" in started.stdout
    slurm.wait_for(lambda: "RUNNING" in slurm.jobs().values(), 60)
    yield config
    slurm.run("scancel", "-u", "root")
    slurm.wait_for(lambda: not slurm.run("squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%i"), 60)


def plans(run: Path) -> list[str]:
    return [json.loads(path.read_text())["by"] for path in sorted((run / "plans").glob("0*.json"))]


def ids(run: Path) -> set[str]:
    plan = json.loads((run / "plans" / "0001.json").read_text())
    return {job for parts in plan["jobs"].values() for job in parts.values()}


def test_somebody_else_sees_the_truth_and_starts_nothing(slurm, held, tmp_path) -> None:
    need_root()
    run = tmp_path / "runs" / "tiny"
    before = sorted(str(path) for path in run.rglob("*"))

    def mine(*words: object):
        return as_nobody(slurm.environment, tmp_path / "home", *words)

    seen = mine("status", run, "--json")
    assert seen.returncode == 0, seen.stderr
    shown = json.loads(seen.stdout)
    assert shown["phases"][0]["state"] == "running" and shown["phases"][1]["state"] == "queued", shown
    assert "its jobs belong to root" in " ".join(shown["notes"])
    for words in (("run", held), ("resume", run), ("retry", run, "slides"), ("cancel", run)):
        answer = mine(*words)
        assert answer.returncode == 2 and answer.stderr.count("\n") == 1, answer.stderr
        assert "root" in answer.stderr and "start again" not in answer.stderr, answer.stderr
    assert sorted(str(path) for path in run.rglob("*")) == before

    for path in (run, *run.rglob("*")):  # a folder of the group's: everybody may write
        path.chmod(0o777 if path.is_dir() else 0o666)
    for words in (("run", held), ("retry", run, "slides"), ("cancel", run)):
        answer = mine(*words)
        assert answer.returncode == 2 and answer.stderr.count("\n") == 1, answer.stderr
        assert "of this campaign belong to root" in answer.stderr, (
            words,
            answer.stderr,
            [path.stat() for path in (run, run / "plans")],
        )
    assert plans(run) == ["person"] and slurm.jobs()[f"{min(map(int, ids(run)))}_0"] == "RUNNING"


def test_where_slurm_shows_nobody_the_jobs_of_others_nothing_is_called_lost(tmp_path) -> None:
    need_root()
    with SlurmHost(tmp_path / "slurm", {"PrivateData": "jobs"}) as slurm:
        for config in _held(slurm, tmp_path):
            run = tmp_path / "runs" / "tiny"
            for path in (run, *run.rglob("*")):
                path.chmod(0o777 if path.is_dir() else 0o666)
            seen = as_nobody(slurm.environment, tmp_path / "home", "status", run, "--json")
            shown = json.loads(seen.stdout)
            assert {phase["state"] for phase in shown["phases"]} == {"unknown"}, shown
            assert (
                "root submitted its jobs, and this SLURM shows nobody the jobs of others" in shown["phases"][0]["why"]
            )
            for words in (("run", config), ("retry", run, "slides"), ("cancel", run)):
                answer = as_nobody(slurm.environment, tmp_path / "home", *words)
                assert answer.returncode == 2 and "root" in answer.stderr, answer.stderr
            assert plans(run) == ["person"]


def test_a_run_that_is_moved_renamed_or_deleted_while_its_jobs_run_is_not_submitted_again(
    slurm, held, tmp_path
) -> None:
    run, other = tmp_path / "runs" / "tiny", tmp_path / "runs" / "other"
    first = str(min(map(int, ids(run))))
    names = slurm.run("squeue", "-h", "-t", "all", "-j", ",".join(ids(run)), "-o", "%j").splitlines()
    mark = json.loads((run / "run.json").read_text())["id"]
    assert all(name.startswith("0") and name.endswith(f".mlseg-tiny.{mark}") for name in names), names
    queue = slurm.jobs()

    run.rename(other)
    moved = mlseg(slurm, "resume", other)
    assert moved.returncode == 2 and moved.stderr.count("\n") == 1, moved.stderr
    assert f"write to {run}, from where its folder was moved. Move it back, or end them" in moved.stderr, moved.stderr
    assert f"jobs {first}, " in moved.stderr
    afresh = mlseg(slurm, "run", held)
    assert afresh.returncode == 2 and "of another run still write into this folder" in afresh.stderr, afresh.stderr
    assert not (run / "campaign.yaml").exists()
    notes = " ".join(status(slurm, other)["notes"])
    assert "this folder was moved" in notes and str(run) in notes
    elsewhere = mlseg(slurm, "run", held, f"runs={tmp_path / 'elsewhere'}")
    assert elsewhere.returncode == 2 and f"run of the same name in {run}, which is gone" in elsewhere.stderr

    shutil.rmtree(run, ignore_errors=True)
    other.rename(run)
    assert mlseg(slurm, "resume", run).returncode == 0  # moved back, all is as it was
    assert plans(run) == ["person"] and slurm.jobs() == queue

    copy = tmp_path / "runs" / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(run)
    deleted = mlseg(slurm, "run", held)
    assert deleted.returncode == 2 and f"scancel {first} " in deleted.stderr, deleted.stderr
    assert mlseg(slurm, "cancel", copy).returncode == 0  # it has the same id: its jobs can be ended from there
    slurm.wait_for(lambda: not slurm.run("squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%i"), 60)


def test_each_process_of_a_maps_job_is_a_worker(slurm, tmp_path) -> None:
    """2 elements of 2 tasks, so 4 workers: each has its own progress, and the phase is done."""
    cluster = {"executor": "slurm", "cut": {"workers": 2, "tasks_per_node": 2}, "train": {"nodes": 2}}
    config = tiny_campaign(tmp_path, cluster=cluster)
    started = mlseg(slurm, "run", config)
    assert started.returncode == 0, started.stderr
    run = tmp_path / "runs" / "tiny"
    try:
        slurm.wait_for((run / "phases" / "01-shards" / "done.json").exists, 240, 1)
    finally:
        mlseg(slurm, "cancel", config)
    for name in ("slides", "shards"):
        numbers = sorted(path.stem for path in (run / "data" / name / "progress").glob("[0-9]*.json"))
        assert numbers == ["0", "1", "2", "3"], numbers
    tasks = sorted(path.stem for path in (run / "phases" / "01-shards" / "tasks").glob("work-*.json"))
    assert tasks == ["work-0", "work-1", "work-2", "work-3"]
