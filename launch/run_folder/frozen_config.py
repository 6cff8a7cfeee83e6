"""Whether a run's frozen code understands a config that newer code is about to record for it.

In: a run folder, a config. Out: nothing, or a UserError that names the key. The frozen code itself is asked, in its own process.
"""

import subprocess
import sys
from pathlib import Path

from launch.config import CampaignConfig
from launch.private import config_mode, write_config
from launch.resources.blocks import JobConfig
from launch.resources.earlier_names import by_earlier_names
from launch.run_folder.folder import RunFolder
from mlseg_core import yaml_text
from mlseg_core.errors import UserError
from mlseg_core.files import temporary_beside, write_atomic

_KNOWS_BLOCKS = ("launch/resources/blocks.py", "launch/resources.py")
"""Files of code that knows a block of resources for each kind of work: the present and the former name."""
_KNOWS_PREDICT = "launch/prediction/__init__.py"
"""A file of code that knows the block `predict`, which no phase uses."""
_ASK = """
import sys
from pathlib import Path
code, path = sys.argv[1:]
sys.path.insert(0, code)
from mlseg_core.config import read_yaml, validate
from mlseg_core.errors import UserError
from launch.config import CampaignConfig
try:
    validate(read_yaml(Path(path)), CampaignConfig, "campaign.yaml")
except UserError as error:
    sys.exit(str(error))
"""


def record(run: RunFolder, config: CampaignConfig, path: Path) -> None:
    """Write the config so that the run's frozen code can read it: older code knows other names of resources. Raises UserError."""
    if run.code.is_dir() and not (run.code / _KNOWS_PREDICT).is_file():
        cluster_then = config.cluster.model_copy(update={"predict": JobConfig()})
        config = config.model_copy(update={"cluster": cluster_then})
    if not run.code.is_dir() or any((run.code / name).is_file() for name in _KNOWS_BLOCKS):
        write_config(config, path)
        return
    try:
        cluster = by_earlier_names(config.cluster.settled())
    except ValueError as error:
        raise UserError(
            f"the code that this run was started with cannot take these resources: {error}",
            run.path,
            f"Go on with the recorded ones, mlseg resume {run.path}, or with the new code: --accept-code.",
        ) from None
    write_atomic(
        path, yaml_text.write({**config.model_dump(mode="json"), "cluster": cluster}), mode=config_mode(config, path)
    )


def check_taken(run: RunFolder, config: CampaignConfig) -> None:
    """Raises UserError when jobs of the run, which use its frozen code, would refuse the config. Quick if that code is ours."""
    if not run.code.is_dir() or run.has_our_code():
        return
    trial = temporary_beside(run.config_path)
    try:
        record(run, config, trial)
        command = [sys.executable, "-I", "-c", _ASK, str(run.code), str(trial)]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    finally:
        trial.unlink(missing_ok=True)
    if asked.returncode:
        lines = asked.stderr.strip().splitlines() or ["it ended without a word"]
        raise UserError(
            f"the code that this run was started with refuses the changed config: {lines[-1]}",
            run.path,
            "Change it back, or let the run go on with the new code: --accept-code.",
        )
