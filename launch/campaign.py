"""Starting or continuing a campaign: make or check its run folder, then plan on SLURM or run here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.completion import Standing, set_aside, survey
from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.liveness import planner_pid
from launch.plans import queued_jobs, read_plans
from launch.run_folder import RunFolder, code_hash, find_run, package_folders
from launch.slurm_queue import has_slurm
from launch.styling import check_styles
from mlseg_core.config import differences, dump_config
from mlseg_core.errors import UserError

_MOST_CHANGES = 3


@dataclass(frozen=True)
class Campaign:
    """A run folder that is ready to go on. warnings: what a person should know first."""

    run: RunFolder
    config: CampaignConfig
    standings: list[Standing]
    warnings: list[str]

    @property
    def is_done(self) -> bool:
        return all(standing.state == "done" for standing in self.standings)


def check_inputs(config: CampaignConfig) -> None:
    """Before the first start: all that a user can get wrong in slides, tables and annotations. Raises UserError."""
    run = RunFolder.of(config)
    if config.slides is not None and not run.exists():
        from shards.build import check_slides

        check_slides(config.shards, config.slides)
    if config.tiles is not None and not run.exists():
        from shards import tiles

        tiles.check(config.tiles)
    check_styles(config, build_graph(config), run)


def prepare(config: CampaignConfig, accept: bool = False, accept_code: bool = False) -> Campaign:
    """Make the run folder at the first start; later, take over an edited config. Raises UserError."""
    run = RunFolder.of(config)
    graph = build_graph(config)
    if not run.exists():
        run.path.mkdir(parents=True, exist_ok=True)
        run.freeze_code()
        dump_config(config, run.config_path)
        return Campaign(run, config, survey(config, graph, run), [])
    standings = survey(config, graph, run)
    stale = [standing for standing in standings if standing.state == "stale"]
    if stale and not accept:
        names = ", ".join(f"{standing.phase.name} ({standing.why})" for standing in stale)
        raise UserError(f"these phases are no longer valid: {names}", run.path, "Add --accept to do them again.")
    changed = _changes(run, config)
    if stale or changed or accept_code:
        _refuse_while_running(config, run, changed)
    if stale:
        set_aside(stale, run)
        standings = survey(config, graph, run)
    if changed:
        dump_config(config, run.config_path)
    return Campaign(run, config, standings, _check_code(run, accept_code))


def _changes(run: RunFolder, config: CampaignConfig) -> list[str]:
    """What is not as in the run's config, in words."""
    try:
        return differences(run.config(), config)
    except UserError:
        return ["its campaign.yaml was written by other code, which knew other keys"]


def _check_code(run: RunFolder, accept: bool) -> list[str]:
    if accept:
        run.set_aside(run.code)
    run.freeze_code()
    if Path(__file__).resolve().is_relative_to(run.code.resolve()) or run.frozen()["hash"] == code_hash(
        package_folders()
    ):
        return []
    return [f"the code differs from {run.code}, which this run goes on with; --accept-code takes the new code"]


def _refuse_while_running(config: CampaignConfig, run: RunFolder, changes: Sequence[str]) -> None:
    what = f", and its config would change: {'; '.join(changes[:_MOST_CHANGES])}" if changes else ""
    what += f"; {len(changes) - _MOST_CHANGES} more" if len(changes) > _MOST_CHANGES else ""
    mend = f"Start it as before, or first: mlseg cancel {run.path}" if changes else f"First: mlseg cancel {run.path}"
    if planner_pid(run.path) is not None:
        raise UserError(f"the campaign is running on this machine{what}", run.path, mend)
    plans = read_plans(run)
    if plans and uses_slurm(config) and any(job.can_run for job in queued_jobs(plans, config.name)):
        raise UserError(f"jobs of the campaign are in the queue{what}", run.path, mend)


def uses_slurm(config: CampaignConfig) -> bool:
    """Where the campaign runs. Raises UserError when SLURM is asked for and missing, or does not answer."""
    if config.cluster.executor == "local":
        return False
    found = has_slurm()
    if config.cluster.executor == "slurm" and not found:
        raise UserError("cluster.executor is slurm, but this machine has none", "cluster", "Use auto or local.")
    return found


def load_where(where: Path, overrides: list[str]) -> CampaignConfig:
    """The config named by a person: a YAML file, or a run folder whose config it continues. Raises UserError."""
    if not where.is_dir():
        return load_campaign(where, overrides)
    run = find_run(where)
    config = load_campaign(run.config_path, overrides)
    # The folder may have been moved since: it is where the person says it is.
    moved = {"runs": run.path.parent, "name": run.path.name}
    return config if config.folder.absolute() == run.path else config.model_copy(update=moved)


def enter_working_folder(run: RunFolder) -> None:
    """Relative paths in the config start where the campaign was started."""
    folder = run.frozen().get("folder")
    if folder and Path(folder).is_dir():
        os.chdir(folder)
