"""Starting, continuing or retrying a campaign: make or check its run folder, before it is planned on SLURM or run here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.checks import check_annotated, check_class_maps, check_corpus, check_ranks
from launch.completion import Completion, set_aside, survey
from launch.config import CampaignConfig, load_campaign, load_recorded
from launch.estimate.styling import check_styles
from launch.graph import build_graph
from launch.growth import growth
from launch.guard import check_free
from launch.local.liveness import planner_pid
from launch.paths import as_recorded, same_place
from launch.private import write_config
from launch.resources.blocks import ClusterConfig
from launch.resources.cluster_files import find_cluster
from launch.run_folder import RunFolder, find_run, run_of_file
from launch.run_folder.frozen_config import check_taken, record
from launch.run_folder.identity import ensure_id, may_write
from launch.slurm.job_plans import read_plans
from launch.slurm.queue import has_slurm
from launch.slurm.run_jobs import read_run_jobs
from mlseg_core.config import differences, validate
from mlseg_core.errors import UserError
from mlseg_core.own import check_folder
from mlseg_dist.run_folder import shards_folder
from shards.manifest import read_manifest

_MOST_CHANGES = 3


@dataclass(frozen=True)
class Campaign:
    """A run folder that is ready to be planned. warnings: what a person should know first."""

    run: RunFolder
    config: CampaignConfig
    completions: list[Completion]
    warnings: list[str]

    @property
    def is_done(self) -> bool:
        return all(completion.state == "done" for completion in self.completions)


def check_inputs(config: CampaignConfig) -> None:
    """Before anything starts: the ranks of training, the class maps; before the first start also all that a user can get wrong in
    slides, tables and annotations. Raises UserError."""
    run = RunFolder.of(config)
    if not run.exists():
        check_folder(run.path, "Set `runs` to a folder that you may write to.")
    check_ranks(config)
    check_class_maps(config)
    if config.slides is not None and not run.exists():
        from shards.cutting import annotated_classes, check_slides, look_at_slides

        look_at_slides(config.slides)
        check_slides(config.shards, config.slides)
        check_annotated(config, annotated_classes(config.shards, config.slides), config.slides)
    if config.tiles is not None and not run.exists():
        from shards import tiles

        tiles.check(config.tiles)
    check_styles(config, build_graph(config), run)


def prepare(config: CampaignConfig, accept: bool = False, accept_code: bool = False) -> Campaign:
    """Make the run folder at the first start; later, take over an edited config.

    Raises UserError, before anything is written, while somebody else runs it or another run's jobs write there.
    """
    run = RunFolder.of(config)
    graph = build_graph(config)
    if not run.exists():
        check_free(run, config)
        run.freeze_code()
        ensure_id(run)
        write_config(config, run.config_path)
        return Campaign(run, config, survey(config, graph, run), _look_at_slides(config, run))
    grown, completions = growth(config, run), survey(config, graph, run)
    if grown is not None and (accept or any(_are_stale_shards(completion) for completion in completions)):
        completions = survey(config, graph, run, grown)
    if any(completion.state != "done" for completion in completions):
        check_free(run, config)
    known = check_cut_corpus(config, run, completions)
    stale = [completion for completion in completions if completion.state == "stale"]
    if stale and not accept:
        names = ", ".join(f"{completion.phase.name} ({completion.why})" for completion in stale)
        raise UserError(
            f"these phases are no longer valid: {names}",
            run.path,
            f"Add --accept to do them again, or go on with the recorded config: mlseg resume {run.path}",
        )
    changed = _changes(run, config)
    if stale or changed or accept_code:
        _refuse_while_running(config, run, changed)
    if changed and not accept_code:
        check_taken(run, config)
    if stale:
        set_aside(stale, run)
        completions = survey(config, graph, run)
    if changed and accept_code:
        write_config(config, run.config_path)
    elif changed:
        record(run, config, run.config_path)
    warnings = known + ([f"the run's config changes: {_in_short(changed)}"] if changed else [])
    if grown is not None and not accept:
        warnings.append(f"{grown}. This run goes on with the shards that it has; --accept takes the change in")
    warnings += _check_code(run, accept_code)
    if may_write(run):
        ensure_id(run)
    return Campaign(run, config, completions, warnings)


def _are_stale_shards(completion: Completion) -> bool:
    return completion.phase.kind == "shards" and completion.state == "stale"


def _look_at_slides(config: CampaignConfig, run: RunFolder) -> list[str]:
    """Remember the slides where they will be cut: hundreds of workers need not read each of them again. Returns warnings."""
    if config.slides is None:
        return []
    from shards.cutting import look_at_slides

    return [f"{config.slides}: {warning}" for warning in look_at_slides(config.slides, shards_folder(run.path))]


def _changes(run: RunFolder, config: CampaignConfig) -> list[str]:
    """What differs from the run's recorded config, in words."""
    try:
        recorded = run.config()
        kept = as_recorded(config.model_dump(mode="json"), recorded.model_dump(mode="json"), run.start_of_paths)
        return differences(recorded, validate(kept, CampaignConfig, run.config_path))
    except UserError:
        return ["its campaign.yaml was written by other code, which knew other keys"]


def _check_code(run: RunFolder, accept: bool) -> list[str]:
    if accept:
        run.set_aside(run.code)
    run.freeze_code()
    if run.has_our_code():
        return []
    return [f"the code differs from {run.code}, which this run goes on with; --accept-code takes the new code"]


def _in_short(changes: Sequence[str]) -> str:
    more = f"; {len(changes) - _MOST_CHANGES} more" if len(changes) > _MOST_CHANGES else ""
    return "; ".join(changes[:_MOST_CHANGES]) + more


def _refuse_while_running(config: CampaignConfig, run: RunFolder, changes: Sequence[str]) -> None:
    what = f", and its config would change: {_in_short(changes)}" if changes else ""
    fix = f"Start it as before, or first: mlseg cancel {run.path}" if changes else f"First: mlseg cancel {run.path}"
    if planner_pid(run.path) is not None:
        raise UserError(f"the campaign is running on this machine{what}", run.path, fix)
    plans = read_plans(run)
    if plans and has_slurm() and any(job.can_run for job in read_run_jobs(run, plans, config.name).own):
        raise UserError(f"jobs of the campaign are in the queue{what}", run.path, fix)


def uses_slurm(config: CampaignConfig) -> bool:
    """Where the campaign runs. Raises UserError when SLURM is asked for and missing, or does not answer."""
    return runs_on_slurm(config.cluster)


def runs_on_slurm(cluster: ClusterConfig) -> bool:
    """The same, of the campaign's resources, or of a cluster file's. Raises UserError."""
    if cluster.executor == "local":
        return False
    found = has_slurm()
    if cluster.executor == "slurm" and not found:
        raise UserError("cluster.executor is slurm, but this machine has none", "cluster", "Use auto or local.")
    return found


def load_where(where: Path, overrides: list[str], cluster: str | None = None) -> CampaignConfig:
    """The config named by a person: a YAML file, or a run folder whose config it continues. Raises UserError.

    cluster: name or path of a cluster file (launch/resources/cluster_files.py).
    """
    site = None if cluster is None else find_cluster(cluster, where)
    if where.is_dir():
        run = find_run(where)
        config = load_recorded(run.config_path, run.start_of_paths, overrides, site)
        # The folder may have been moved since: it is where the person says it is.
        if not same_place(config.folder, run.path):
            config = config.model_copy(update={"runs": run.path.parent, "name": run.path.name})
        return config
    config = load_campaign(where, overrides, site=site)
    run = run_of_file(where, config)
    if not run.exists():
        return config
    if not same_place(config.folder, run.path):  # an earlier version's, below the working folder
        config = load_campaign(where, overrides, run.start_of_paths, site)
    config = config.model_copy(update={"runs": run.path.parent})
    try:
        recorded = run.config()
    except UserError:
        return config  # by other code, which knew other keys; prepare says so
    plain = as_recorded(config.model_dump(mode="json"), recorded.model_dump(mode="json"), run.start_of_paths)
    config = validate(plain, CampaignConfig, where)
    _enter_for_tiles(run, config)
    return config


def enter_working_folder(run: RunFolder) -> None:
    """In a run of an earlier version, change to the folder where the relative path of its tiles starts. Raises UserError."""
    _enter_for_tiles(run, run.config())


def _enter_for_tiles(run: RunFolder, config: CampaignConfig) -> None:
    if config.tiles is not None and not config.tiles.folder.is_absolute():
        run.enter_working_folder()


def check_cut_corpus(
    config: CampaignConfig, run: RunFolder, completions: Sequence[Completion], or_begun: bool = False
) -> list[str]:
    """check_corpus of a run whose shards are cut and that still has to train. Returns warnings.

    or_begun: also of a corpus that the shards phase refused; `run` cuts it again, as slides may have been annotated since.
    Raises UserError.
    """
    path = shards_folder(run.path) / "manifest.json"
    shards = next(completion for completion in completions if completion.phase.kind == "shards")
    is_cut = shards.state == "done" or (or_begun and shards.state == "missing" and path.exists())
    is_trained = all(completion.state == "done" for completion in completions if completion.phase.kind == "train")
    return check_corpus(config, read_manifest(path), path) if is_cut and not is_trained else []


def check_retry(config: CampaignConfig, run: RunFolder, name: str) -> bool:
    """Whether the phase can be tried again; False if it is done already.

    Raises UserError for an unknown phase, one that runs, and one whose inputs are missing.
    """
    from launch.status import campaign_status

    graph = build_graph(config)
    if name not in {phase.name for phase in graph}:
        raise UserError(f"no phase {name!r}", run.path, f"There are: {', '.join(phase.name for phase in graph)}.")
    phases = {phase.name: phase for phase in campaign_status(run, config).phases}
    state = phases[name].state
    if state == "done":
        return False
    check_free(run, config)
    if planner_pid(run.path) is not None:
        raise UserError("the campaign is running on this machine", run.path, f"First: mlseg cancel {run.path}")
    if state == "unknown":
        raise UserError(
            f"phase {name} may be running: {phases[name].why}", run.path, "Retry it where that can be seen."
        )
    if state in ("running", "queued"):
        jobs = ", ".join(job["id"] for job in phases[name].jobs) or "its processes"
        raise UserError(f"phase {name} is {state} ({jobs})", run.path, "Wait for it, or mlseg cancel the campaign.")
    if state == "stale":
        raise UserError(
            f"phase {name} is no longer valid: {phases[name].why}", run.path, "mlseg run … --accept does it again."
        )
    before = next(phase.inputs for phase in graph if phase.name == name)
    left = [other for other in before if phases[other].state not in ("done", "running", "queued")]
    if left:
        raise UserError(
            f"phase {name} waits for phase {left[0]}, which is {phases[left[0]].state}",
            run.path,
            f"First: mlseg retry {run.path} {left[0]}",
        )
    if state == "waiting":
        raise UserError(f"phase {name} has not failed: it has not begun", run.path, f"Start it: mlseg run {run.path}")
    return True
