"""The teacher that a person means by RUN or BUNDLE: the one way from a word on the command line to a network. Loads no torch."""

from pathlib import Path

from launch.config import CampaignConfig
from launch.run_folder import RunFolder, find_run
from mlseg_core.errors import UserError
from mlseg_dist.teachers.of_bundle import BUNDLE, is_bundle, read_bundle
from mlseg_dist.teachers.of_run import taught_steps, teacher_of_run
from mlseg_dist.teachers.teacher import Teacher


def find_teacher(where: Path, step: str | None = None) -> Teacher:
    """where: a run folder, the config that it was made from, or a bundle.

    step: whose teacher; None: the campaign's own last step that has one. Raises UserError.
    """
    if is_bundle(where):
        found = read_bundle(where)
        if step is not None and step != found.config.step:
            raise UserError(f"the bundle holds step {found.config.step}, not {step!r}", "--step", "Leave --step out.")
        return found
    if (where / BUNDLE).exists() and not (where / "campaign.yaml").exists():
        read_bundle(where)  # says what is wrong with it
    run = find_run(where)
    config = run.config()
    return teacher_of_run(config, _step(config, run, step), run.path, config.shards)


def step_index(config: CampaignConfig, name: str) -> int:
    """Index of the step named with --step. Raises UserError."""
    names = [step.name for step in config.steps]
    if name not in names:
        raise UserError(f"no step {name!r}", "--step", f"There are: {', '.join(names)}.")
    return names.index(name)


def _step(config: CampaignConfig, run: RunFolder, name: str | None) -> int:
    """Index of the named step, or of the campaign's own last one that has a teacher."""
    if name is not None:
        return step_index(config, name)
    taught = [number for number in taught_steps(config, run.path) if not config.steps[number].control]
    if not taught:
        raise UserError("no step has a teacher yet", run.path, "Let the first training phase finish.")
    return taught[-1]
