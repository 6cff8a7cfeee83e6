"""slurm: whether the site's SLURM takes the jobs of this campaign, as `sbatch --test-only` and scontrol say."""

import bisect
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launch.config import JobConfig
from launch.gpus import asked_gpus
from launch.kinds import JobName, MapKind, kind_of
from launch.preflight.finding import Finding
from launch.preflight.site import Site
from launch.slurm_submit import script
from mlseg_core.progress import clock

_TIMEOUT_S = 60
_DEFAULT_ARRAY = 1001
_AT_ONCE = "SLURM: jobs at once"


def slurm(site: Site) -> Iterator[Finding]:
    """Array size; of every kind of job: its partition, its time limit, whether sbatch takes it; whether sbatch takes them all."""
    if not site.slurm:
        yield Finding("SLURM", "skipped", "the campaign runs on this machine")
        return
    most = _array_size()
    yield _array(site.config.cluster.map.workers, most)
    partitions = read_partitions(_said("scontrol", "show", "partition", "--oneliner"))
    refused = False
    for name, job in site.jobs.items():
        row = f"SLURM: {name} jobs"
        problem = _partition_problem(job, partitions)
        finding = Finding(row, "bad", *problem) if problem else _accepted(site, row, name, job)
        refused = refused or finding.mark == "bad"
        yield finding
    if not refused:
        yield _all_at_once(site, most)


def _array_size() -> int:
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _said("scontrol", "show", "config"))
    return int(found.group(1)) if found else _DEFAULT_ARRAY


def _array(workers: int, most: int) -> Finding:
    if workers > most - 1:
        mend = f"Set cluster.map.workers to at most {most - 1}."
        return Finding("SLURM: array", "bad", f"{workers} workers, but MaxArraySize is {most}", mend)
    return Finding("SLURM: array", "ok", f"{workers} workers; MaxArraySize is {most}")


def read_partitions(text: str) -> dict[str, dict[str, str]]:
    """Name -> settings, of `scontrol show partition --oneliner`."""
    rows = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    return {row["PartitionName"]: row for row in rows if "PartitionName" in row}


def minutes(limit: str) -> float:
    """Of a time as SLURM writes it: days-hours:minutes:seconds, or UNLIMITED."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+)*", limit):
        return float("inf")
    days, _, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not days and len(parts) == 1:
        return parts[0]
    hours, mins, secs = [0] * (3 - len(parts)) + parts if not days else parts + [0] * (3 - len(parts))
    return int(days or 0) * 1440 + hours * 60 + mins + secs / 60


def _partition_problem(job: JobConfig, partitions: dict[str, dict[str, str]]) -> tuple[str, str] | None:
    """(what is wrong, how to mend it), told from the partitions' own settings."""
    defaults = [name for name, row in partitions.items() if row.get("Default") == "YES"]
    if job.partition is None and not defaults:
        return "no partition is named, and SLURM has no default", f"Name one: {', '.join(partitions)}"
    for name in (job.partition or defaults[0]).split(","):
        if name not in partitions:
            return f"no partition {name!r}", f"There are: {', '.join(partitions)}"
        row = partitions[name]
        limit = row.get("MaxTime", "UNLIMITED")
        if job.timeout_min > minutes(limit):
            return (
                f"timeout_min {job.timeout_min} is over partition {name}'s MaxTime {limit}",
                f"Set timeout_min to at most {minutes(limit):.0f}: jobs go on by themselves.",
            )
        if row.get("State", "UP") != "UP":
            return f"partition {name} is {row['State']}", "Ask the site, or choose another."
        if job.nodes > int(row.get("TotalNodes", job.nodes)):
            return f"{job.nodes} nodes, but partition {name} has {row['TotalNodes']}", "Use fewer nodes."
    return None


def _accepted(site: Site, row: str, name: JobName, job: JobConfig) -> Finding:
    taken, lines = _test_only(site, name, job)
    if not taken:
        mend = f"Correct cluster.{name}: partition, account, qos, nodes, GPUs, memory."
        return Finding(row, "bad", f"sbatch refuses: {_reason(lines)}", mend)
    start = next((found.group(1) for line in lines if (found := re.search(r"to start at (\S+)", line))), "")
    asks = f"{job.nodes} × {job.tasks_per_node} tasks, {asked_gpus(job).per_node} GPUs a node, {clock(job.timeout_min * 60)}"
    return Finding(row, "ok", f"accepted: {asks}" + (f"; could start {start}" if start else ""))


def _all_at_once(site: Site, most: int) -> Finding:
    """Sites limit how many jobs a user may have waiting, each task of an array counted: sbatch is asked for an array of so many."""
    maps, others = _jobs_at_once(site)
    count = others + maps * site.config.cluster.map.workers
    asked = min(count, most - 1)
    said = _refusal_of(site, asked)
    if not said:
        return Finding(_AT_ONCE, "ok", f"accepted: {count}" + (f" ({asked} tried)" if asked < count else ""))
    fits = bisect.bisect_left(range(1, asked), True, key=lambda jobs: bool(_refusal_of(site, jobs)))
    workers = (fits - others) // maps
    mend = f"Set cluster.map.workers to at most {workers}: each is a job in every one of {maps} maps."
    if workers < 1:
        mend = f"Ask the site for {others + maps} jobs or more, or wait until your others have ended."
    return Finding(_AT_ONCE, "bad", f"a plan queues {count}; SLURM takes {fits} now ({said})", mend)


def _refusal_of(site: Site, jobs: int) -> str:
    """Why sbatch would not take so many jobs more; empty: it would."""
    taken, lines = _test_only(site, "map", site.config.cluster.map, f"--array=0-{jobs - 1}")
    return "" if taken else _reason(lines)


def _jobs_at_once(site: Site) -> tuple[int, int]:
    """(maps, each with a job a worker; a plan's other jobs under the same account and qos).

    Those are one a phase or merge, and the one that plans again.
    """
    kinds = [kind_of(phase) for phase in site.graph]
    maps = sum(isinstance(kind, MapKind) for kind in kinds)
    trainings = sum(kind.job == "train" for kind in kinds)
    others = {"train": trainings, "single": len(kinds) - trainings + 1}
    same = [name for name in ("train", "single") if _limited_by(site.jobs[name]) == _limited_by(site.jobs["map"])]
    return maps, sum(others[name] for name in same)


def _limited_by(job: JobConfig) -> tuple[str | None, str | None]:
    return job.account, job.qos


def _test_only(site: Site, name: JobName, job: JobConfig, *options: str) -> tuple[bool, list[str]]:
    """Whether sbatch would take the job, and the lines that it says."""
    with tempfile.TemporaryDirectory(prefix="mlseg-preflight-") as folder:
        path = Path(folder) / "job.sh"
        path.write_text(script(site.run, site.config, name, job))
        answer = subprocess.run(
            ["sbatch", "--test-only", *options, str(path)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={k: v for k, v in os.environ.items() if not k.startswith(("SBATCH_", "SLURM_")) or k == "SLURM_CONF"},
        )
    return answer.returncode == 0, [line.strip() for line in answer.stderr.splitlines() if line.strip()]


def _reason(lines: list[str]) -> str:
    said = next((line for line in lines if "error:" in line), lines[-1] if lines else "no reason given")
    return said.removeprefix("sbatch: error: ").removeprefix("allocation failure: ")


def _said(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return answer.stdout if answer.returncode == 0 else ""
