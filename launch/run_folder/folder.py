"""The run folder: where a campaign keeps its config, its frozen code, its phases' states and its outputs.

RUN/campaign.yaml   the resolved config          RUN/code/      the packages that the jobs import
RUN/run.json        its id (identity.py)         RUN/planner.json  who runs it locally, while that lasts (launch/local/record.py)
RUN/plans/NNNN.json which jobs were submitted    RUN/data/      slides, shards, labels, counts
RUN/phases/NN-name/ state.json done.json tasks/ logs/           RUN/report/    the report
RUN/avoid/NODE.json nodes that jobs with GPUs leave out (nodes.py)    RUN/private/  who the pseudonyms are (docs/privacy.md)
RUN/evaluations/    what `mlseg evaluate` made    RUN/final-unseen.jsonl  who opened that split (docs/evaluation.md)
"""

import importlib.util
import json
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from launch.config import CampaignConfig, load_campaign, load_recorded
from launch.graph import Phase
from launch.paths import base_of
from launch.run_folder.aside import set_aside
from launch.version import version
from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, overwrite, own_files, read_json, sha256_file, write_json
from mlseg_dist.events import Events

PACKAGES = ("launch", "mlseg_core", "mlseg_dist", "shards")
_SOURCES = (".py", ".html", ".css")
TASK_FILE = r"[a-z]+-\d+\.json"
"""Form of the names in a phase's folder `tasks`: PART-INDEX.json."""


class RunFolder:
    """Paths and small records of one campaign's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if any(mark in str(self.path) for mark in "%\n\r\\"):
            raise UserError(
                f"the run folder's path {str(self.path)!r} holds %, \\ or a line break, which job logs cannot carry",
                "runs, name",
                "Choose another name or folder.",
            )

    @classmethod
    def of(cls, config: CampaignConfig) -> "RunFolder":
        if config.name in (".", ".."):
            raise UserError(f"{config.name!r} is no name for a run", "name", "Choose a plain folder name.")
        return cls(config.folder)

    @property
    def config_path(self) -> Path:
        return self.path / "campaign.yaml"

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def plans(self) -> Path:
        return self.path / "plans"

    def exists(self) -> bool:
        return self.config_path.is_file()

    def config(self) -> CampaignConfig:
        """The campaign's resolved config. Raises UserError."""
        if not self.exists():
            raise UserError("no campaign.yaml: not a run folder", self.path, "Give the folder that `mlseg run` made.")
        return load_recorded(self.config_path, self.start_of_paths)

    @property
    def start_of_paths(self) -> Path:
        """Where relative paths in campaign.yaml start: only runs of earlier versions have such."""
        return Path(self.frozen().get("folder") or Path.cwd())

    def phase(self, phase: Phase) -> Path:
        return self.path / "phases" / phase.folder

    def logs(self, phase: Phase) -> Path:
        return self.phase(phase) / "logs"

    def events(self, phase: Phase) -> Events:
        return Events(self.phase(phase))

    def state(self, phase: Phase) -> dict[str, Any]:
        """What the phase's last attempt reported; {} before the first."""
        return _read_or_empty(self.phase(phase) / "state.json")

    def write_state(self, phase: Phase, **facts: Any) -> None:
        self._say(self.phase(phase) / "state.json", {"name": phase.name, **facts, "updated": time.time()})

    def write_task(self, phase: Phase, index: int, **facts: Any) -> None:
        """Record how one process of a phase is doing."""
        self._say(self.phase(phase) / "tasks" / f"{facts['part']}-{index}.json", {"index": index, **facts})

    def task(self, phase: Phase, part: str, index: int) -> dict[str, Any]:
        """What this process of a phase last said; {} before it said anything."""
        return _read_or_empty(self.phase(phase) / "tasks" / f"{part}-{index}.json")

    def _say(self, path: Path, facts: dict[str, Any]) -> None:
        """Write the record. On a full disk, overwrite the older one in place."""
        try:
            write_json(path, facts)
        except OSError:
            if not overwrite(path, json.dumps(facts)):
                raise

    def tasks(self, phase: Phase) -> list[dict[str, Any]]:
        paths = own_files(self.phase(phase) / "tasks", TASK_FILE)
        return [task for path in paths if (task := _read_or_empty(path))]

    def frozen(self) -> dict[str, Any]:
        """hash, version: of the frozen code.  folder: the working folder of the first start."""
        return _read_or_empty(self.code / "frozen.json")

    def has_our_code(self) -> bool:
        """Whether this process runs the frozen code itself, or equal code."""
        if Path(__file__).resolve().is_relative_to(self.code.resolve()):
            return True
        return bool(self.frozen().get("hash") == code_hash(package_folders()))

    def forget_alert(self) -> None:
        """Remove the planner's alert: a person has taken over."""
        if "alert" in _read_or_empty(self.path / "alert.json"):
            (self.path / "alert.json").unlink(missing_ok=True)

    @property
    def is_of_earlier_version(self) -> bool:
        """Whether it was made before runs had ids (identity.py), when relative paths in a file started at the working folder."""
        found = _read_or_empty(self.path / "run.json")
        return not found or bool(found.get("earlier"))

    def enter_working_folder(self) -> None:
        """Change to the folder where the campaign was first started, if this user can."""
        with suppress(OSError):
            os.chdir(self.start_of_paths)

    def freeze_code(self) -> None:
        """Copy the packages this process runs into RUN/code; whoever does it first wins."""
        if (self.code / "frozen.json").exists():
            return
        was_there = self.path.exists()
        temporary = self.path / f".tmp-code-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            for package, source in package_folders().items():
                _copy_package(source, temporary / package)
            facts = {"hash": code_hash(package_folders()), "folder": str(Path.cwd()), "version": version()}
            write_json(temporary / "frozen.json", facts)
            temporary.rename(self.code)
        except BaseException as error:
            lost = isinstance(error, OSError) and (self.code / "frozen.json").exists()  # somebody was quicker
            shutil.rmtree(temporary, ignore_errors=True)
            if lost:
                return
            if not was_there:
                with suppress(OSError):
                    self.path.rmdir()
            raise

    def set_aside(self, path: Path) -> None:
        """Move an output that is no longer valid to RUN/aside, where a person can look at it or delete it."""
        if os.path.lexists(path):
            set_aside(path, self.path / "aside")


def find_run(where: Path) -> RunFolder:
    """The run folder named by a person: the folder itself, or the config that it was made from. Raises UserError."""
    if where.is_dir():
        run = RunFolder(where)
        run.config()
        return run
    run = run_of_file(where, load_campaign(where, ()))
    if not run.exists():
        raise UserError("no run folder yet", run.path, f"Start it: mlseg run {where}")
    return run


def run_of_file(file: Path, config: CampaignConfig) -> RunFolder:
    """The run folder of a campaign file; one that an earlier version made below the working folder, where there is no other.

    config: the file's, with overrides.
    """
    run = RunFolder.of(config)
    if not run.exists():
        below = base_of(file)
        if config.runs.is_relative_to(below):
            earlier = RunFolder(Path.cwd() / config.runs.relative_to(below) / config.name)
            if earlier.exists() and earlier.is_of_earlier_version:
                return earlier
    return run


def package_folders() -> dict[str, Path]:
    """Where this process's own packages lie."""
    folders = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"package {package!r} cannot be found",
                "installation",
                "Run: make install, or pip install the wheel again.",
            )
        folders[package] = Path(next(iter(spec.submodule_search_locations)))
    return folders


def _copy_package(source: Path, target: Path) -> None:
    """Its files, without caches and hidden ones. Raises OSError at the first that cannot be written; shutil.copytree goes on."""
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            copy = target.joinpath(*parts)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)


def code_hash(folders: dict[str, Path]) -> str:
    """Hash of all source files of the packages: code, templates and style sheets."""
    return fingerprint(
        {
            f"{package}/{path.relative_to(folder)}": sha256_file(path)
            for package, folder in folders.items()
            for path in sorted(folder.rglob("*"))
            if path.suffix in _SOURCES and not path.name.startswith(".")
        }
    )


def _read_or_empty(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
