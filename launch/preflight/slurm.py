"""slurm: whether the site's SLURM takes the jobs of this campaign, as `sbatch --test-only` and scontrol say.

`mlseg preflight` shows what this finds, and `mlseg run` refuses for it before anything is queued (start.py).
"""

import bisect
from collections.abc import Iterator
from functools import cached_property

from launch.phases import MapKind, block_of, kind_of
from launch.preflight.asking import Asking, where
from launch.preflight.finding import Finding
from launch.preflight.site import Site
from launch.resources.blocks import WITHOUT_GPUS, Block, JobConfig
from launch.resources.gpus import asked_gpus
from launch.slurm.refusal import refusal
from mlseg_core.progress import clock

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
    def __init__(self, site: Site) -> None:
        self.site = site
        self.cluster = site.config.cluster
        self._asking = Asking(self._script)

    def _script(self, job: JobConfig) -> str:
        from launch.slurm.submit import script  # loads submitit

        return script(self.site.run, self.site.config.name, "preflight", job)

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
        if count > self._asking.most - 1:
            key = where(self.cluster, name, "workers", count)
            fix = f"Set it to at most {self._asking.most - 1}."
            return Finding(
                "SLURM: array", "bad", f"{key}: {count} workers, but MaxArraySize is {self._asking.most}", fix
            )
        return Finding("SLURM: array", "ok", f"{count} workers; MaxArraySize is {self._asking.most}")

    def block(self, name: Block) -> Finding:
        """Whether SLURM would accept the block's jobs, also those of a retry."""
        row, job = f"SLURM: {name} jobs", self.cluster.job(name)
        problem, key, start = self._asking.block(self.cluster, name)
        if problem is not None:
            return Finding(row, "bad", f"{key}: {problem.what}", problem.fix, problem.said)
        asked = asked_gpus(job)
        asks = f"{job.nodes} × {job.tasks_per_node} tasks, {asked.per_node} GPUs a node, {clock(job.minutes * 60)}"
        seen = f"accepted: {asks}" + (f"; could start {start}" if start else "")
        if asked and name in WITHOUT_GPUS:
            fix = f"To give no GPUs to it, {asked.remedy(f'cluster.{name}')}."
            return Finding(row, "warning", f"{seen}; this work runs on CPUs", fix)
        return Finding(row, "ok", seen)

    def all_at_once(self) -> Finding:
        """Sites limit how many jobs a user may have waiting, each task of an array counted: sbatch is asked for an array of so
        many."""
        if not self.maps:
            return Finding(_AT_ONCE, "ok", "no map is left")
        first = max(self.maps, key=lambda name: self.cluster.job(name).workers)
        elements, others = self._jobs_at_once(first)
        count = elements + others
        asked = min(count, self._asking.most - 1)
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
        taken, printed = self._asking.test_only(self.cluster.job(name), f"--array=0-{jobs - 1}")
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
