"""What a refusal of SLURM's is told as: the key to blame, and how to fix it."""

import pytest

from launch.preflight.partitions import problem_of_partition, problem_of_refusal, read_nodes, read_partitions
from launch.resources.blocks import ClusterConfig
from mlseg_core.config import validate

PARTITIONS = read_partitions(
    "PartitionName=cpu Default=YES MaxTime=7-00:00:00 MaxNodes=UNLIMITED State=UP TotalNodes=40\n"
    "PartitionName=gpu Default=NO MaxTime=12:00:00 MaxNodes=2 State=UP TotalNodes=4\n"
    "PartitionName=old Default=NO MaxTime=UNLIMITED State=DOWN TotalNodes=1\n"
)
NODES = read_nodes(
    "NodeName=c1 CPUTot=64 RealMemory=250000 Gres=(null) Partitions=cpu CfgTRES=cpu=64,mem=250000M\n"
    "NodeName=g1 CPUTot=96 RealMemory=1000000 Gres=gpu:h100:8(S:0-1),nvme:1 Partitions=gpu,old\n"
    "NodeName=g2 CPUTot=48 RealMemory=500000 Gres=gpu:a100:4 Partitions=gpu\n"
    "NodeName=g3 CPUTot=48 RealMemory=500000 Gres=gpu:a100:4 Partitions=gpu\n"
)


def job(**settings):
    return validate({"train": settings}, ClusterConfig, "site.yaml").job("train")


@pytest.mark.parametrize(
    ("settings", "key", "what"),
    [
        ({"partition": "gpus"}, "partition", "no such partition"),
        ({"partition": "cpu,gpus"}, "partition", "no such partition"),
        ({"partition": "old"}, "partition", "it is DOWN"),
        ({"partition": "gpu", "time": "1-00:00:00"}, "time", "MaxTime is 12:00:00"),
        ({"partition": "gpu", "nodes": 5}, "nodes", "has 4 (TotalNodes)"),
        ({"partition": "gpu", "nodes": 3}, "nodes", "has 2 (MaxNodes)"),
        ({"time": "7-00:00:00", "nodes": 40}, None, ""),
    ],
)
def test_partitions(settings, key, what) -> None:
    found = problem_of_partition(job(**settings), PARTITIONS)
    assert (found and found.key) == key and (found is None or (what in found.what and found.fix))


def test_without_a_default_partition_one_has_to_be_named() -> None:
    found = problem_of_partition(job(), {"gpu": {"PartitionName": "gpu"}})
    assert found and (found.key, found.fix) == ("partition", "Name one: gpu.")


@pytest.mark.parametrize(
    ("settings", "said", "key", "what"),
    [
        ({"gpus": 1}, "node configuration", "gpus", "no node of partition cpu has a GPU"),
        ({"partition": "gpu", "gpus": "v100:1"}, "Invalid generic resource (gres)", "gpus", "no node of partition gpu has these"),
        ({"partition": "gpu", "gpus": 9}, "node configuration", "gpus", "no node of partition gpu has these GPUs"),
        ({"partition": "gpu", "gpus": "h100:8", "nodes": 2}, "node configuration", "nodes", "only 1 of the nodes of partition gpu"),
        ({"partition": "gpu", "extra": {"gres": "gpu:9"}}, "node configuration", "extra.gres", "has these GPUs"),
        ({"partition": "gpu", "gpus": 4, "tasks_per_node": 4, "cpus_per_task": 32}, "x", "cpus_per_task", "make 128 CPUs"),
        ({"mem": "1T"}, "Memory specification can not be satisfied", "mem", "at most 250000M"),
        ({"account": "x"}, "Invalid account or account/partition combination specified", "account", "not an account"),
        ({"qos": "x"}, "Invalid qos specification", "qos", "not a qos"),
        ({}, "Requested time limit is invalid (missing or exceeds some limit)", "time", "longer"),
        ({"extra": {"constraint": "x"}}, "Invalid feature specification", "extra", "constraint"),
        ({}, "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "", "a limit of"),
        ({}, "User's group not permitted to use this partition", "partition", "not a partition"),
        ({}, "Something new", "", "SLURM does not take such a job: Something new"),
    ],
)  # fmt: skip
def test_refusals(settings, said, key, what) -> None:
    found = problem_of_refusal(job(**settings), said, PARTITIONS, NODES)
    assert (found.key, found.said) == (key, said) and what in found.what and found.fix
