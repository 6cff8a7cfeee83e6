"""The checks in the order of the table. A check that breaks is a finding too and does not stop the others."""

from collections.abc import Callable, Iterable, Iterator

from launch.preflight import alerts, files, learning, python, slurm, space, wandb
from launch.preflight.finding import Finding
from launch.preflight.site import Site
from mlseg_core.errors import UserError

Check = Callable[[Site], Iterable[Finding]]


def _node(site: Site) -> Iterator[Finding]:
    if not site.node_job:
        yield Finding("node", "skipped", "--node-job runs a short job a kind of node: GPU, driver, ranks, folders")
        return
    from launch.preflight.node import node  # loads submitit

    yield from node(site)


CHECKS: dict[str, Check] = {
    "config": learning.config,
    "slides": learning.slides,
    "styles": learning.styles,
    "shards": learning.corpus,
    "write": files.write,
    "space": space.space,
    "slurm": slurm.slurm,
    "python": python.python,
    "wandb": wandb.wandb,
    "alerts": alerts.alerts,
    "node": _node,
}
"""Name -> check."""


def run_checks(site: Site) -> Iterator[Finding]:
    """Every finding of every check, as soon as it is known. One cause that stops several checks is reported once."""
    told: set[str] = set()
    for name, check in CHECKS.items():
        try:
            yield from check(site)
        except (UserError, OSError, RuntimeError, ValueError) as error:
            if str(error) in told:
                yield Finding(name, "skipped", "cannot be checked before that is fixed")
            else:
                told.add(str(error))
                yield Finding.of(name, error)
