"""slurm: whether the site's SLURM takes the jobs of this campaign, as `sbatch --test-only` and scontrol say.

`mlseg preflight` shows what this finds, and `mlseg run` refuses for it before anything is queued (start.py).
"""

import bisect
import re
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from launch.phases import MapKind, block_of, kind_of
from launch.preflight.finding import Finding
from launch.preflight.partitions import (
    Node,
    Problem,
    problem_of_partition,
    problem_of_refusal,
    read_nodes,
    read_partitions,
)
from launch.preflight.site import Site
from launch.resources.blocks import WITHOUT_GPUS, Block, JobConfig
from launch.resources.gpus import asked_gpus
from launch.slurm.refusal import refusal
from mlseg_core.progress import clock

_TIMEOUT_S = 60
_DEFAULT_ARRAY = 1001
_AT_ONCE = "SLURM: jobs at once"


def slurm(site: Site) -> Iterator[Finding]:
    """Array size; of every block: its partition, its time limit, whether sbatch takes it; whether sbatch takes all jobs at once."""
    if not site.slurm:
        yield Finding("SLURM", "skipped", "the campaign runs on this machine")
        return
    look = _ClusterChecks(site)
    yield look.array()
    refused = False
    for name in site.jobs_left:
        finding = look.block(name)
        refused = refused or finding.mark == "bad"
        yield finding
    if not refused:
        yield look.all_at_once()


class _ClusterChecks:
    """One look at the cluster: scontrol is asked once for each thing, sbatch once for each different job."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cluster = site.config.cluster
        self._asked: dict[str, tuple[Problem | None, str]] = {}

    @cached_property
    def partitions(self) -> dict[str, dict[str, str]]:
        return read_partitions(_said("scontrol", "show", "partition", "--oneliner"))

    @cached_property
    def most(self) -> int:
        """SLURM's MaxArraySize."""
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _said("scontrol", "show", "config"))
        return int(found.group(1)) if found else _DEFAULT_ARRAY

    @cached_property
    def maps(self) -> list[Block]:
        """The block of each map that is left."""
        left = [phase for phase in self.site.left if isinstance(kind_of(phase), MapKind)]
        return [block_of(self.site.config, phase) for phase in left]

    def array(self) -> Finding:
        if not self.maps:
            return Finding("SLURM: array", "ok", "no map is left")
        name = max(self.maps, key=lambda one: self.cluster.job(one).workers)
        count = self.cluster.job(name).workers
        if count > self.most - 1:
            where = _where(self.site, name, "workers", count)
            fix = f"Set it to at most {self.most - 1}."
            return Finding("SLURM: array", "bad", f"{where}: {count} workers, but MaxArraySize is {self.most}", fix)
        return Finding("SLURM: array", "ok", f"{count} workers; MaxArraySize is {self.most}")

    def block(self, name: Block) -> Finding:
        """Whether SLURM would accept the block's jobs, also those of a retry."""
        row, job = f"SLURM: {name} jobs", self.cluster.job(name)
        start = ""
        for attempt in (job, job.again()):
            problem, start_of_attempt = self._ask(attempt)
            start = start or start_of_attempt
            if problem:
                more = attempt is not job and problem.key in attempt.retry.model_fields_set
                where = _blamed(self.site, name, f"retry.{problem.key}" if more else problem.key)
                seen = f"{where}: {problem.what}"
                return Finding(row, "bad", seen, problem.fix, problem.said)
        asked = asked_gpus(job)
        asks = f"{job.nodes} × {job.tasks_per_node} tasks, {asked.per_node} GPUs a node, {clock(job.minutes * 60)}"
        seen = f"accepted: {asks}" + (f"; could start {start}" if start else "")
        if asked and name in WITHOUT_GPUS:
            fix = f"To give no GPUs to it, {asked.remedy(f'cluster.{name}')}."
            return Finding(row, "warning", f"{seen}; this work runs on CPUs", fix)
        return Finding(row, "ok", seen)

    def _ask(self, job: JobConfig) -> tuple[Problem | None, str]:
        """(what is wrong, when such a job could start)."""
        key = job.model_copy(update={"workers": 1}).model_dump_json()
        if key not in self._asked:
            problem, start = problem_of_partition(job, self.partitions), ""
            if problem is None:
                taken, printed = _test_only(self.site, job)
                found = re.search(r"to start at (\S+)", printed)
                start = found.group(1) if found else ""
                problem = None if taken else problem_of_refusal(job, refusal(printed), self.partitions, self._nodes)
            self._asked[key] = problem, start
        return self._asked[key]

    @cached_property
    def _nodes(self) -> list[Node]:
        return read_nodes(_said("scontrol", "show", "node", "--oneliner"))

    def all_at_once(self) -> Finding:
        """Sites limit how many jobs a user may have waiting, each task of an array counted: sbatch is asked for an array of so
        many."""
        if not self.maps:
            return Finding(_AT_ONCE, "ok", "no map is left")
        first = max(self.maps, key=lambda name: self.cluster.job(name).workers)
        elements, others = self._jobs_at_once(first)
        count = elements + others
        asked = min(count, self.most - 1)
        said = self._refusal_of(first, asked)
        if not said:
            return Finding(_AT_ONCE, "ok", f"accepted: {count}" + (f" ({asked} tried)" if asked < count else ""))
        fits = bisect.bisect_left(range(1, asked), True, key=lambda jobs: bool(self._refusal_of(first, jobs)))
        workers = (fits - others) // len(self.maps)
        names = ", ".join(f"cluster.{name}.workers" for name in dict.fromkeys(self.maps))
        fix = f"Set {names} to at most {workers}: each worker is a job in every one of {len(self.maps)} maps."
        if workers < 1:
            fix = f"Ask the site for {others + len(self.maps)} jobs or more, or wait until your others have ended."
        return Finding(_AT_ONCE, "bad", f"a plan queues {count}; SLURM takes {fits} now ({said})", fix, said)

    def _refusal_of(self, name: Block, jobs: int) -> str:
        """Why sbatch would not accept so many more jobs; empty if it would."""
        taken, printed = _test_only(self.site, self.cluster.job(name), f"--array=0-{jobs - 1}")
        return "" if taken else refusal(printed)

    def _jobs_at_once(self, first: Block) -> tuple[int, int]:
        """(elements of maps' arrays, a plan's other jobs) under the account and qos of the block `first`.

        The others are one a phase or merge, and the one that plans again.
        """
        limited = _limited_by(self.cluster.job(first))
        elements = [self.cluster.job(name) for name in self.maps]
        wholes = [
            block_of(self.site.config, phase) for phase in self.site.left if not isinstance(kind_of(phase), MapKind)
        ]
        others = [self.cluster.job(name) for name in wholes] + [self.cluster.job("small")] * (len(self.maps) + 1)
        return (
            sum(job.workers for job in elements if _limited_by(job) == limited),
            sum(_limited_by(job) == limited for job in others),
        )


def _limited_by(job: JobConfig) -> tuple[str | None, str | None]:
    return job.account, job.qos


def _blamed(site: Site, name: Block, key: str) -> str:
    """`cluster.train.partition=gpu`, or `cluster.default.partition=gpu (train)` if that block set it."""
    if not key:
        return f"cluster.{name}"
    value: object = site.config.cluster.job(name)
    for part in key.split("."):
        value = value.get(part, "") if isinstance(value, dict) else getattr(value, part)
    return _where(site, name, key, value)


def _where(site: Site, name: Block, key: str, value: object) -> str:
    own: JobConfig = getattr(site.config.cluster, name)
    first = key.split(".")[0]
    inherited = first not in own.chosen and first in site.config.cluster.default.chosen
    block = "default" if inherited else name
    return f"cluster.{block}.{key}" + (f"={value}" if value is not None else "") + (f" ({name})" if inherited else "")


def _test_only(site: Site, job: JobConfig, *options: str) -> tuple[bool, str]:
    """Whether sbatch would take the job, and what it prints."""
    from launch.slurm.submit import sbatch_environment, script  # loads submitit

    with tempfile.TemporaryDirectory(prefix="mlseg-preflight-") as folder:
        path = Path(folder) / "job.sh"
        path.write_text(script(site.run, site.config, "preflight", job))
        answer = subprocess.run(
            ["sbatch", "--test-only", *options, str(path)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=sbatch_environment(),
        )
    return answer.returncode == 0, answer.stderr


def _said(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return answer.stdout if answer.returncode == 0 else ""
