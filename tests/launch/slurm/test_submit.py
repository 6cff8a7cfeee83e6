"""The batch scripts that submitit writes: a site's settings are in them, and stay data."""

import importlib
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from launch.config import CampaignConfig, load_campaign
from launch.resources.blocks import ClusterConfig, JobConfig
from launch.run_folder import RunFolder
from launch.slurm import submit
from launch.slurm.submit import script

PROJECT = Path(__file__).parents[3]
EVIL = 'it\'s "$(touch pwned)" `touch pwned`; touch pwned'


def flags(text: str) -> set[str]:
    return {shlex.split(line.removeprefix("#SBATCH "))[0] for line in text.splitlines() if line.startswith("#SBATCH ")}


def command(text: str) -> list[str]:
    return shlex.split(next(line for line in text.splitlines() if line.startswith("srun ")))


def test_every_setting_of_a_site_is_in_the_script(config: CampaignConfig) -> None:
    job = JobConfig(
        nodes=2,
        tasks_per_node=8,
        gpus=8,
        cpus_per_task=7,
        mem="480G",
        time="1-00:00:00",
        partition="gpu",
        account=EVIL,
        qos="long",
        setup=("module load cuda/12",),
        extra={"constraint": "a100&nvlink", "comment": EVIL},
    )
    text = script(RunFolder.of(config), config.name, "train", job)
    assert {
        "--nodes=2",
        "--ntasks-per-node=8",
        "--gpus-per-node=8",
        "--cpus-per-task=7",
        "--mem=480G",
        "--time=1440",
        "--partition=gpu",
        f"--account={EVIL}",
        "--qos=long",
        "--constraint=a100&nvlink",
        f"--comment={EVIL}",
        "--requeue",
        "--signal=USR2@120",
    } <= flags(text)
    lines = text.splitlines()
    assert lines.index("module load cuda/12") < lines.index(next(line for line in lines if line.startswith("srun ")))


def test_names_and_paths_are_data_in_the_script(tmp_path: Path, config_path: Path) -> None:
    folder = tmp_path / "a 'b' $(touch pwned)"
    config = load_campaign(config_path, [f"runs={folder}"]).model_copy(update={"name": EVIL.replace("/", "")})
    run = RunFolder.of(config)
    text = script(run, config.name, "train", JobConfig())
    assert f"--job-name=mlseg-{config.name}-train" in flags(text)
    assert command(text)[-1] == str(run.path / "logs")
    setup = text[text.index("# setup") : text.index("# command")]
    said = subprocess.run(
        ["bash", "-c", f'{setup}\nprintf %s "$PYTHONPATH"'],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == str(run.code)
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("container", [(), ("apptainer", "exec", "--nv", "--bind", "/data sets", "mlseg $v.sif")])
def test_a_container_stands_before_the_interpreter(config: CampaignConfig, container: tuple[str, ...]) -> None:
    words = command(script(RunFolder.of(config), config.name, "train", JobConfig(container=container)))
    start = words.index(sys.executable)
    assert tuple(words[start - len(container) : start]) == container
    assert words[start + 1 : start + 4] == ["-u", "-m", "submitit.core._submit"]


def test_the_cluster_file_that_we_ship_holds_valid_jobs() -> None:
    import yaml

    from mlseg_core.config import validate

    path = Path(__file__).parents[3] / "configs" / "clusters" / "slurm-gpu.yaml"
    cluster = validate(yaml.safe_load(path.read_text())["cluster"], ClusterConfig, path)
    assert cluster.job("train").gpus == cluster.job("train").tasks_per_node == 8


def test_two_starts_of_a_script_are_two_attempts_though_slurm_counts_them_as_one(config: CampaignConfig) -> None:
    """A slurmctld that was killed forgets a start: the second has the same job id and the same number of restarts."""
    text = script(RunFolder.of(config), config.name, "train", JobConfig())
    setup = text[text.index("# setup") : text.index("# command")]
    ask = "from types import SimpleNamespace as N; from launch.job import attempt_name; print(attempt_name(N(job_id='7')))"
    both = f"{setup}\nunset PYTHONPATH PYTHONSAFEPATH\n'{sys.executable}' -c \"{ask}\" & '{sys.executable}' -c \"{ask}\"; wait"
    said = []
    for _ in range(2):
        done = subprocess.run(["bash", "-c", both], cwd=PROJECT, capture_output=True, text=True, check=True)
        said.append(set(done.stdout.split()))
        time.sleep(1)
    assert [len(names) for names in said] == [1, 1] and said[0] != said[1], said  # all ranks of a start agree
    assert all(name.startswith("7-0-") for names in said for name in names)


EARLIER_CODE = {
    "__init__.py": "",
    "job.py": "def run_job(*words):\n    return ['earlier run_job', *words]\n",
    "slurm_plan.py": "def replan(*words):\n    return ['earlier replan', *words]\n",
}
"""Where the code of earlier versions, which a run of theirs has frozen, has the functions that its jobs call."""


def test_jobs_that_are_submitted_for_a_run_of_an_earlier_version_find_their_function_in_its_frozen_code(tmp_path: Path):
    (tmp_path / "launch").mkdir()
    for name, text in EARLIER_CODE.items():
        (tmp_path / "launch" / name).write_text(text)
    replan = importlib.import_module(submit._REPLAN).replan
    for number, function in enumerate((submit.run_job, replan)):
        DelayedSubmission(function, "RUN").dump(tmp_path / f"{number}.pkl")
    code = "import pickle, sys; print(*(pickle.load(open(file, 'rb')).result() for file in sys.argv[1:]), sep='\\n')"
    command = [sys.executable, "-c", code, str(tmp_path / "0.pkl"), str(tmp_path / "1.pkl")]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert said.stdout.splitlines() == ["['earlier run_job', 'RUN']", "['earlier replan', 'RUN']"], said.stderr
