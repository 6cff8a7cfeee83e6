"""Who may read what can hold secrets: the shell lines of `cluster.*.setup`, such as exported keys, stand in campaign.yaml and in
batch scripts, and their output in job logs.

Where a campaign has such lines, campaign.yaml and batch scripts are for their owner alone (0600), and so are the folders of
logs (0700: SLURM makes the files in them later). A person who wants to share them loosens the modes once; they stay so.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.config import CampaignConfig, load_recorded
from launch.resources.blocks import BLOCKS, JobConfig
from mlseg_core.config import dump_config
from mlseg_core.errors import UserError

OWNER_ONLY = 0o600
_FOLDER = 0o700


def holds_secrets(job: JobConfig) -> bool:
    """Whether a job's resources can hold some: set-up lines, or variables to export."""
    return bool(job.setup) or "export" in job.extra


def config_mode(config: CampaignConfig, path: Path) -> int | None:
    """The mode that campaign.yaml is written with; None for the user's usual one. One that held secrets before keeps its own."""
    if not _any_secrets(config):
        return None
    return stat.S_IMODE(path.stat().st_mode) if _held_secrets(path) else OWNER_ONLY


def _held_secrets(path: Path) -> bool:
    try:
        return path.exists() and _any_secrets(load_recorded(path, path.parent))
    except UserError:  # by other code, which knew other keys
        return False


def _any_secrets(config: CampaignConfig) -> bool:
    return any(holds_secrets(config.cluster.job(block)) for block in BLOCKS)


def write_config(config: CampaignConfig, path: Path) -> None:
    """campaign.yaml, atomically."""
    dump_config(config, path, config_mode(config, path))


@contextmanager
def private_logs(folder: Path, job: JobConfig) -> Iterator[None]:
    """While a job is submitted whose batch script lies in `folder`, as its logs will."""
    if not holds_secrets(job):
        yield
        return
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_FOLDER)
    before = set(folder.iterdir())
    try:
        yield
    finally:
        for path in set(folder.iterdir()) - before:
            if path.is_file():
                path.chmod(OWNER_ONLY)
