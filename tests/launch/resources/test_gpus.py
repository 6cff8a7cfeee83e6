"""A job may ask for GPUs by any of sbatch's keys; one function reads them all."""

import os

import pytest
from submitit import LocalExecutor

from launch.environment import job_environment
from launch.resources.blocks import JobConfig
from launch.resources.gpus import asked_gpus, give_gpus
from launch.run_folder import RunFolder
from launch.slurm.nodes import UnfitNode, check_gpus, excluding
from mlseg_core.errors import UserError


@pytest.mark.parametrize(
    ("settings", "per_node"),
    [
        ({}, 0),
        ({"gpus": 2}, 2),
        ({"gpus": "h100:8"}, 8),
        ({"extra": {"gres": "gpu:2"}}, 2),
        ({"extra": {"gres": "gpu"}}, 1),
        ({"extra": {"gres": "gpu:a100"}}, 1),
        ({"extra": {"gres": "gpu:a100:4(S:0-1),nvme:1"}}, 4),
        ({"extra": {"gres": "nvme:1,shard:3"}}, 0),
        ({"extra": {"gres": "none"}}, 0),
        ({"extra": {"gres": "gpu:0"}}, 0),
        ({"extra": {"gpus": "8"}, "nodes": 2}, 4),
        ({"extra": {"gpus": "h100:9"}, "nodes": 2}, 5),
        ({"extra": {"gpus-per-node": "h100:8"}}, 8),
        ({"extra": {"gpus_per_node": "h100:4,a100:2"}}, 6),
        ({"extra": {"gpus-per-task": "1"}, "tasks_per_node": 8}, 8),
        ({"extra": {"gpus_per_task": "h100:2"}, "tasks_per_node": 2}, 4),
        ({"extra": {"gpus-per-socket": "2"}}, 2),
        ({"extra": {"tres-per-node": "gres/gpu:8"}}, 8),
        ({"extra": {"tres-per-node": "gres:gpu:h100:8"}}, 8),
        ({"extra": {"tres-per-task": "cpu:4,gres/gpu:h100=1"}, "tasks_per_node": 4}, 4),
        ({"extra": {"tres-per-job": "gres/gpu=16"}, "nodes": 4}, 4),
        ({"extra": {"constraint": "gpu", "comment": "gpu:8"}}, 0),
        ({"gpus": 1, "extra": {"gres": "gpu:4"}}, 4),
    ],
)
def test_gpus_a_node(settings, per_node) -> None:
    assert asked_gpus(JobConfig(**settings)).per_node == per_node


def test_the_words_name_the_key_that_asked() -> None:
    asked = asked_gpus(JobConfig(extra={"gres": "gpu:2"}))
    assert asked.words == "2 GPUs a node" and asked.remedy("cluster.train") == "leave out cluster.train.extra.gres"
    assert asked_gpus(JobConfig(gpus=1)).remedy("cluster.label") == "set cluster.label.gpus=0"


BY_GRES = JobConfig(extra={"gres": "gpu:h100:2", "exclude": "n9"})


def test_a_job_that_asked_by_another_key_and_sees_none_ends_at_once(tmp_path, monkeypatch) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=r"2 GPUs a node.*leave out cluster.train.extra.gres"):
        check_gpus(run, "train", BY_GRES, on_slurm=True)  # torch here is a build without GPUs
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    with pytest.raises(UnfitNode, match="n2"):
        check_gpus(run, "train", BY_GRES, on_slurm=True)
    assert excluding(run, BY_GRES)["exclude"] == "n9,n2"


def test_only_a_job_without_gpus_is_told_to_work_on_its_cpu(tmp_path) -> None:
    run = RunFolder(tmp_path / "run")
    assert "DS_ACCELERATOR" not in job_environment(run, BY_GRES)
    assert job_environment(run, JobConfig())["DS_ACCELERATOR"] == "cpu"


def visible_devices() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_job_on_this_machine_gets_only_gpus_that_its_user_may_use(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 2,3")
    executor = LocalExecutor(tmp_path)
    give_gpus(executor, 2)
    assert executor.submit(visible_devices).result() == "5,2"


@pytest.mark.parametrize(
    ("named", "count", "expected"),
    [(None, 2, None), ("2,3", 0, None), ("GPU-1a2b,MIG-3c4d", 1, ["GPU-1a2b", "MIG-3c4d"])],
)
def test_gpus_are_taken_as_they_are_named(tmp_path, monkeypatch, named, count, expected) -> None:
    """None: submitit counts from 0."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    executor = LocalExecutor(tmp_path)
    give_gpus(executor, count)
    assert executor.parameters["gpus_per_node"] == count and executor.parameters.get("visible_gpus") == expected


@pytest.mark.parametrize("named", ["", "3"])
def test_fewer_gpus_than_a_job_asks_for_are_refused(tmp_path, monkeypatch, named) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(UserError, match=r"asks for 2 GPUs, and CUDA_VISIBLE_DEVICES=.* shows"):
        give_gpus(LocalExecutor(tmp_path), 2)
