"""The checks in the order of the table. A check that fails to work is a finding too; none stops the others."""

from collections.abc import Callable, Iterable, Iterator

from launch.preflight import alerts, files, learning, node, python, slurm, space, wandb
from launch.preflight.finding import Finding
from launch.preflight.site import Site
from mlseg_core.errors import UserError

Check = Callable[[Site], Iterable[Finding]]

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
    "node": node.node,
}
"""Name -> check."""


def run_checks(site: Site) -> Iterator[Finding]:
    """Every finding of every check, as soon as it is known. What stopped an earlier check is told once."""
    told: set[str] = set()
    for name, check in CHECKS.items():
        try:
            yield from check(site)
        except (UserError, OSError, RuntimeError, ValueError) as error:
            if str(error) in told:
                yield Finding(name, "skipped", "cannot be checked before that is mended")
            else:
                told.add(str(error))
                yield Finding.of(name, error)
