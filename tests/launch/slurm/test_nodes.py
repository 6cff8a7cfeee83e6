"""A node whose GPU does not work touches no unit, is named, and is left out from then on."""

import json
import subprocess
import time

import pytest

from launch.graph import Phase
from launch.resources.blocks import JobConfig
from launch.run_folder import RunFolder
from launch.slurm import nodes
from launch.slurm.nodes import UnfitNode, avoid, avoid_stuck, avoided, check_gpus, excluding
from mlseg_core.errors import UserError
from mlseg_dist.device import gpu_index
from tests.cluster.conftest import slurm_with_gpus  # noqa: F401  (fixture)
from tests.launch.conftest import tiny_campaign
from tests.launch.test_on_slurm import mlseg, status

GPUS = JobConfig(gpus=2)
FOUR = JobConfig(gpus=4, tasks_per_node=4)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def built_for_gpus(monkeypatch):
    """As torch from PyPI is on a node without a driver."""
    monkeypatch.setattr(nodes, "_broken", lambda local_rank: "RuntimeError: Found no NVIDIA driver on your system")
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")


def test_a_job_without_gpus_asks_for_none(run):
    check_gpus(run, "label", JobConfig(), on_slurm=True)


def test_a_broken_node_is_named_and_written_down(run, built_for_gpus):
    with pytest.raises(
        UnfitNode, match=r"node n2 has no GPU that works, and the job asked for 2 GPUs a node: .*driver"
    ):
        check_gpus(run, "label", GPUS, on_slurm=True)
    assert avoided(run) == {"n2": "RuntimeError: Found no NVIDIA driver on your system"}


def test_on_this_machine_it_is_the_config(run, built_for_gpus):
    with pytest.raises(UserError, match=r"cluster.label: .*Set cluster.label.gpus=0"):
        check_gpus(run, "label", GPUS, on_slurm=False)
    assert not avoided(run)


def test_more_ranks_than_gpus_are_the_configs_fault_unless_slurm_gave_enough(run, monkeypatch):
    def too_few(share: bool) -> str:
        assert not share
        gpu_index({"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}, 3)
        return ""

    monkeypatch.setattr(nodes, "_broken", too_few)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    for job, on_slurm in ((JobConfig(gpus=3, tasks_per_node=4), True), (FOUR, False)):
        with pytest.raises(UserError, match="4 ranks of this node see 3 GPUs"):
            check_gpus(run, "train", job, on_slurm)
    assert not avoided(run)
    with pytest.raises(UnfitNode, match="n2"):
        check_gpus(run, "train", FOUR, on_slurm=True)
    assert "4 ranks of this node see 3 GPUs" in avoided(run)["n2"]


def test_only_jobs_with_gpus_leave_it_out(run):
    avoid(run, "n2", "no GPU")
    avoid(run, "n7", "no GPU")
    assert excluding(run, GPUS) == {"exclude": "n2,n7"}
    assert excluding(run, JobConfig(extra={"nice": "1"})) == {"nice": "1"}
    assert excluding(run, JobConfig(gpus=1, extra={"exclude": "n9"})) == {"exclude": "n9,n2,n7"}


def test_a_node_that_held_two_attempts_up_is_left_out(run):
    phase, said = Phase(2, "base", "train"), {"why": "still", "step": 3}
    log_event = run.events(phase).log
    run.phase(phase).mkdir(parents=True)
    log_event("stuck", "rank 1 on n2 (pid 7) stands still", node="n2", pid=7, **said)
    log_event("stuck", "rank 1 on n2 (pid 7) stands still", node="n2", pid=7, **said)  # named by two ranks
    log_event("stuck", "all ranks wait", node="n1", pid=8, **(said | {"why": "all-wait"}))
    log_event("stuck", "all ranks wait", node="n1", pid=9, **(said | {"why": "all-wait"}))
    avoid_stuck(run, phase, since=0)
    assert not avoided(run)
    log_event("stuck", "rank 3 on n2 (pid 12) stands still", node="n2", pid=12, **said)
    avoid_stuck(run, phase, since=time.time() + 1)
    assert not avoided(run), "a person has planned since"
    avoid_stuck(run, phase, since=0)
    assert avoided(run) == {"n2": "2 times a rank there held base up: rank 3 on n2 (pid 12) stands still"}


@pytest.mark.cluster
def test_slurm_keeps_jobs_with_gpus_off_it_and_a_torch_without_gpus_is_one_line(slurm_with_gpus, tmp_path):  # noqa: F811
    slurm = slurm_with_gpus
    gpu = {"gpus": 1}
    cluster = {"executor": "slurm", "default": {"workers": 2}, "train": gpu}
    config = tiny_campaign(tmp_path, cluster=cluster)
    row = {row["name"]: row for row in json.loads(mlseg(slurm, "preflight", config, "--json").stdout)["checks"]}
    assert "is a build without GPUs; train jobs ask" in row["torch"]["seen"]
    path = RunFolder(tmp_path / "runs" / "tiny")
    for node in ("n1", "n3"):
        avoid(path, node, "Xid 79: it has fallen off the bus")
    answer = mlseg(slurm, "run", config)
    assert answer.returncode == 0, answer.stderr
    jobs = {phase["name"]: phase["jobs"][0]["id"] for phase in status(slurm, config)["phases"] if phase["jobs"]}
    assert "ExcNodeList=n[1,3]" in shown(slurm, jobs["base"])
    assert "ExcNodeList=(null)" in shown(slurm, jobs["shards"])
    slurm.wait_for(lambda: status(slurm, config)["alert"] and slurm.is_idle(), 180, 2)
    said = mlseg(slurm, "status", config).stdout
    assert "phase base stopped for something that a person has to fix" in " ".join(said.split())
    assert "cluster.train: the jobs ask for 1 GPU a node, but torch" in " ".join(said.split())
    assert "n3 is avoided until avoid/n3.json is removed: Xid 79" in " ".join(said.split())
    assert not [state for state in slurm.jobs().values() if state == "PENDING"], "the dependents end"


def shown(slurm, job: str) -> str:
    command = ["scontrol", "show", "job", job]
    return subprocess.run(command, env=slurm.environment, capture_output=True, text=True, check=True).stdout
