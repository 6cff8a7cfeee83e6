"""Asking a site's SLURM whether it would take a job, without queueing one.

In: resources of a job, and how its batch script is written. Out: what is wrong, and which key of the cluster file to blame.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from launch.preflight.partitions import (
    Node,
    Problem,
    problem_of_partition,
    problem_of_refusal,
    read_nodes,
    read_partitions,
)
from launch.resources.blocks import Block, ClusterConfig, JobConfig
from launch.slurm.refusal import refusal

_TIMEOUT_S = 60
_DEFAULT_ARRAY = 1001


class Asking:
    """One look at the cluster: scontrol is asked once for each thing, sbatch once for each different job."""

    def __init__(self, write_script: Callable[[JobConfig], str]) -> None:
        """write_script: the batch script of a job with these resources."""
        self._write_script = write_script
        self._asked: dict[str, tuple[Problem | None, str]] = {}

    @cached_property
    def partitions(self) -> dict[str, dict[str, str]]:
        return read_partitions(_said("scontrol", "show", "partition", "--oneliner"))

    @cached_property
    def most(self) -> int:
        """SLURM's MaxArraySize."""
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _said("scontrol", "show", "config"))
        return int(found.group(1)) if found else _DEFAULT_ARRAY

    def block(self, cluster: ClusterConfig, name: Block) -> tuple[Problem | None, str, str]:
        """(what is wrong, the key to blame for it, when such a job could start), of a block's jobs and of those of a retry."""
        job, start = cluster.job(name), ""
        for attempt in (job, job.again()):
            problem, start_of_attempt = self._ask(attempt)
            start = start or start_of_attempt
            if problem is not None:
                is_retry = attempt is not job and problem.key in attempt.retry.model_fields_set
                return problem, _blamed(cluster, name, f"retry.{problem.key}" if is_retry else problem.key), start
        return None, "", start

    def _ask(self, job: JobConfig) -> tuple[Problem | None, str]:
        """(what is wrong, when such a job could start)."""
        key = job.model_copy(update={"workers": 1}).model_dump_json()
        if key not in self._asked:
            problem, start = problem_of_partition(job, self.partitions), ""
            if problem is None:
                taken, printed = self.test_only(job)
                found = re.search(r"to start at (\S+)", printed)
                start = found.group(1) if found else ""
                problem = None if taken else problem_of_refusal(job, refusal(printed), self.partitions, self._nodes)
            self._asked[key] = problem, start
        return self._asked[key]

    @cached_property
    def _nodes(self) -> list[Node]:
        return read_nodes(_said("scontrol", "show", "node", "--oneliner"))

    def test_only(self, job: JobConfig, *options: str) -> tuple[bool, str]:
        """Whether sbatch would take the job, and what it prints."""
        from launch.slurm.submit import sbatch_environment  # loads submitit

        with tempfile.TemporaryDirectory(prefix="mlseg-preflight-") as folder:
            path = Path(folder) / "job.sh"
            path.write_text(self._write_script(job))
            answer = subprocess.run(
                ["sbatch", "--test-only", *options, str(path)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                env=sbatch_environment(),
            )
        return answer.returncode == 0, answer.stderr


def _blamed(cluster: ClusterConfig, name: Block, key: str) -> str:
    """`cluster.train.partition=gpu`, or `cluster.default.partition=gpu (train)` if that block set it."""
    if not key:
        return f"cluster.{name}"
    value: object = cluster.job(name)
    for part in key.split("."):
        value = value.get(part, "") if isinstance(value, dict) else getattr(value, part)
    return where(cluster, name, key, value)


def where(cluster: ClusterConfig, name: Block, key: str, value: object) -> str:
    """The key of the block, or of `default` where the block has it from there, with its value."""
    own: JobConfig = getattr(cluster, name)
    first = key.split(".")[0]
    inherited = first not in own.chosen and first in cluster.default.chosen
    block = "default" if inherited else name
    return f"cluster.{block}.{key}" + (f"={value}" if value is not None else "") + (f" ({name})" if inherited else "")


def _said(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return answer.stdout if answer.returncode == 0 else ""
