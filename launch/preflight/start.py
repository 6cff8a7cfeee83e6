"""What `mlseg run` checks of a campaign's resources before it makes a run folder or queues anything: what preflight would find."""

from collections.abc import Iterator

from launch.preflight.finding import Finding
from launch.preflight.site import Site
from launch.preflight.slurm import slurm
from launch.resources.gpus import asked_gpus
from launch.slurm.job_plans import read_plans
from launch.slurm.run_jobs import read_run_jobs
from mlseg_core.errors import UserError


def check_resources(site: Site, verbose: bool = False) -> None:
    """Raises UserError for the first bad finding. verbose: with SLURM's own words.

    SLURM is not asked while jobs of the run are under way: they count against the user's limits, and starting again is always safe.
    """
    for finding in _findings(site):
        if finding.mark == "bad":
            said = (
                f"; SLURM said: {finding.said}" if verbose and finding.said and finding.said not in finding.seen else ""
            )
            where, colon, what = finding.seen.partition(": ")
            raise UserError((what if colon else where) + said, where if colon else "cluster", finding.fix)


def ranks_on_gpus(site: Site) -> Iterator[Finding]:
    """Whether training has one rank for each GPU."""
    train = site.config.cluster.job("train")
    gpus = asked_gpus(train)
    if gpus and train.tasks_per_node != gpus.per_node:
        yield Finding(
            "ranks",
            "bad" if train.tasks_per_node > gpus.per_node else "warning",
            f"cluster.train.tasks_per_node={train.tasks_per_node}: {train.tasks_per_node} ranks on {gpus.words}",
            f"Set cluster.train.tasks_per_node={gpus.per_node}: one rank a GPU.",
        )


def _findings(site: Site) -> Iterator[Finding]:
    if not site.left:
        return
    if any(phase.kind == "train" for phase in site.left):
        yield from ranks_on_gpus(site)
    if site.slurm and not _is_under_way(site):
        yield from slurm(site)


def _is_under_way(site: Site) -> bool:
    if not site.run.exists():
        return False
    plans = read_plans(site.run)
    jobs = read_run_jobs(site.run, plans, site.config.name, settle=False) if plans else None
    return jobs is not None and any(job.can_run for job in jobs.own)
