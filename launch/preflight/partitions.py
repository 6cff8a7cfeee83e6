"""Why SLURM would not take a job of these resources, with the key that is to blame.

In: a job, what `scontrol` says of partitions and nodes, what sbatch said. Out: a Problem. Pure: nothing is asked here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch.resources.blocks import JobConfig
from launch.resources.gpus import asked_gpus
from launch.resources.quantities import gpus_of_gres, gpus_of_types, megabytes, minutes

_SACCTMGR = "`sacctmgr show assoc user=$USER format=account,partition,qos` lists yours."
_SAID = (
    (
        "accounting/QOS policy",
        "",
        "a limit of your account or qos",
        "Wait until other jobs have ended, or ask for less.",
    ),
    ("account", "account", "not an account of yours, or not in this partition", _SACCTMGR),
    ("qos", "qos", "not a qos of yours, or not in this partition", _SACCTMGR),
    ("time limit", "time", "longer than may be", "Ask for less: jobs go on by themselves."),
    ("memory spec", "mem", "more memory than a node has", "Ask for less."),
    ("generic resource|gres", "gpus", "not GPUs that this cluster has", "`scontrol show node` lists them under Gres."),
    ("node count", "nodes", "not so many nodes", "Use fewer nodes."),
    ("feature", "extra", "a constraint that no node meets", "Correct extra.constraint."),
    ("unrecognized option", "extra", "not an option of sbatch", "Correct extra."),
    ("partition", "partition", "not a partition that takes such jobs", "`sinfo -s` lists them."),
)
"""What sbatch says (a pattern), the key, what is wrong, how to fix it. The first that fits counts."""


@dataclass(frozen=True)
class Problem:
    """key: of the job's block; "" if no single one is to blame.  said: SLURM's own words."""

    key: str
    what: str
    fix: str
    said: str = ""


@dataclass(frozen=True)
class Node:
    """What one node has. gpus: type -> count, "" where SLURM counts them without a type."""

    partitions: frozenset[str]
    cpus: int
    memory_mb: int
    gpus: dict[str, int]


def read_partitions(text: str) -> dict[str, dict[str, str]]:
    """Name -> settings, in the output of `scontrol show partition --oneliner`."""
    return {row["PartitionName"]: row for row in _rows(text) if "PartitionName" in row}


def read_nodes(text: str) -> list[Node]:
    """The nodes in the output of `scontrol show node --oneliner`."""
    return [
        Node(
            frozenset(row.get("Partitions", "").split(",")),
            int(row.get("CPUTot", 0)),
            int(row.get("RealMemory", 0)),
            gpus_of_gres(row.get("Gres", "")),
        )
        for row in _rows(text)
        if "NodeName" in row
    ]


def _rows(text: str) -> list[dict[str, str]]:
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]


def problem_of_partition(job: JobConfig, partitions: dict[str, dict[str, str]]) -> Problem | None:
    """What sbatch may accept although the job would then stay in the queue for ever."""
    names = _named(job, partitions)
    if not names:
        return Problem("partition", "none is named, and SLURM has no default", f"Name one: {', '.join(partitions)}.")
    for name in names:
        if name not in partitions:
            return Problem("partition", "SLURM has no such partition", f"There are: {', '.join(partitions)}.")
        row = partitions[name]
        limit = row.get("MaxTime", "UNLIMITED")
        if job.minutes > minutes(limit):
            most = f"Set it to at most {minutes(limit):.0f} minutes: jobs go on by themselves."
            return Problem("time", f"partition {name}'s MaxTime is {limit}", most)
        if row.get("State", "UP") != "UP":
            return Problem("partition", f"it is {row['State']}", "Ask the site, or choose another.")
        for setting in ("TotalNodes", "MaxNodes"):
            if row.get(setting, "").isdecimal() and job.nodes > int(row[setting]):
                return Problem("nodes", f"partition {name} has {row[setting]} ({setting})", "Use fewer nodes.")
    return None


def problem_of_refusal(
    job: JobConfig, said: str, partitions: dict[str, dict[str, str]], nodes: Sequence[Node]
) -> Problem:
    """What sbatch meant. said: its own words."""
    if found := _problem_of_nodes(job, partitions, nodes):
        return Problem(*found, said)
    for pattern, key, what, fix in _SAID:
        if re.search(pattern, said, re.IGNORECASE):
            return Problem(key, what, fix, said)
    fix = "Correct partition, account, qos, nodes, gpus, cpus_per_task, mem."
    return Problem("", f"SLURM does not take such a job: {said}", fix, said)


def _problem_of_nodes(
    job: JobConfig, partitions: dict[str, dict[str, str]], nodes: Sequence[Node]
) -> tuple[str, str, str] | None:
    """(key, what, fix) if the partition's nodes lack what the job asks of each; else None."""
    names = set(_named(job, partitions))
    where = f"partition {', '.join(sorted(names))}"
    members = [node for node in nodes if names & node.partitions]
    if not members:
        return None
    gpus = _problem_of_gpus(job, where, members)
    if gpus:
        return gpus
    cpus, most = job.tasks_per_node * job.cpus_per_task, max(node.cpus for node in members)
    if cpus > most:
        what = f"{job.tasks_per_node} tasks a node make {cpus} CPUs, and the nodes of {where} have at most {most}"
        return "cpus_per_task", what, "Ask for fewer, or use fewer tasks_per_node."
    memory = max(node.memory_mb for node in members)
    if job.mem is not None and megabytes(job.mem) > memory:
        return "mem", f"the nodes of {where} have at most {memory}M", "Ask for less."
    return None


def _problem_of_gpus(job: JobConfig, where: str, members: Sequence[Node]) -> tuple[str, str, str] | None:
    asked = asked_gpus(job)
    if not asked:
        return None
    key = asked.keys[0]
    wanted = gpus_of_types(str(job.gpus)) if key == "gpus" else {"": asked.per_node}
    fitting = sum(all(_has(node, kind, count) for kind, count in wanted.items()) for node in members)
    if fitting >= job.nodes:
        return None
    there = sorted({f"{kind}:{n}" if kind else str(n) for node in members for kind, n in node.gpus.items()})
    if not there:
        return key, f"no node of {where} has a GPU", "Name a partition that has them, or set gpus=0."
    if fitting:
        return "nodes", f"only {fitting} of the nodes of {where} have {asked.words}", "Use fewer nodes."
    return key, f"no node of {where} has these GPUs", f"A node has: {', '.join(there)}."


def _has(node: Node, kind: str, count: int) -> bool:
    return (node.gpus.get(kind, 0) if kind else sum(node.gpus.values())) >= count


def _named(job: JobConfig, partitions: dict[str, dict[str, str]]) -> list[str]:
    """The job's partitions, else SLURM's default one, if there is any."""
    if job.partition is not None:
        return job.partition.split(",")
    return [name for name, row in partitions.items() if row.get("Default") == "YES"][:1]
