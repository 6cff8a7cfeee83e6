"""The wheel, in an environment and a folder that know nothing of the source tree: what a user has who was given the file.

Dependencies come from this environment's site-packages by a .pth file; the project's own folder is not importable there.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from launch.run_folder import PACKAGES
from launch.working_folder import lay_out

ROOT = Path(__file__).parents[2]
TINY = [
    "phantom.size_um=2000",
    "phantom.mpp=2",
    "phantom.train=1",
    "phantom.val=1",
    "phantom.test=0",
    "phantom.dev_unseen=0",
    "phantom.final_unseen=0",
    "cluster.executor=local",
    "evaluate.splits=[val]",
    "policies.master-4=[basic]",
    "policies.master-5=[basic]",
    "checks={}",
]
DEADLINE_S = 240


class Installed:
    """An environment with the wheel in it, and a folder elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "env" / "bin"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.environment["PATH"] = f"{self.bin}:{os.environ['PATH']}"

    def run(self, *words: object, cwd: Path | None = None) -> str:
        done = subprocess.run(
            list(map(str, words)),
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for part in (*PACKAGES, "configs", "slurm"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    here = Installed(folder)
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(folder)!r}))"
    wheel = folder / here.run(sys.executable, "-c", build, cwd=source).split()[-1]
    shutil.rmtree(source)
    here.run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    pip = (sys.executable, "-m", "pip", "--python", here.bin / "python", "install", "-q", "--no-index", "--no-deps")
    here.run(*pip, "--no-compile", wheel)
    packages = here.run(here.bin / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    others = [place for place in sys.path if place.endswith("site-packages")]
    (Path(packages) / "others.pth").write_text("\n".join(others))
    return here


def test_the_wheel_says_its_version_and_lies_alone(installed: Installed) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert installed.run(installed.bin / "mlseg", "--version") == f"mlseg {version}\n"
    where = "import launch, shards, mlseg_core, mlseg_dist; print(launch.__file__, shards.__file__, *__import__('sys').path)"
    assert str(ROOT) not in installed.run(installed.bin / "python", "-c", where).replace(f"{ROOT}/.venv", "")


def test_its_working_folder_is_that_of_the_source_tree(installed: Installed, tmp_path: Path) -> None:
    installed.run(installed.bin / "mlseg", "init", "same")
    lay_out(tmp_path)

    def files(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files(installed.folder / "same") == files(tmp_path)
    assert {"configs/paper.yaml", "configs/clusters/slurm-gpu.yaml", "slurm/master.sh", "constraints.txt"} <= set(
        files(tmp_path)
    )


def test_the_first_two_commands_of_its_readme_work(installed: Installed) -> None:
    """The second, with fewer slides, until its first phase is done; from a folder below, where configs/… are found as well."""
    installed.run(installed.bin / "mlseg", "init", "work")
    work = installed.folder / "work"
    first, second = re.findall(r"^    (mlseg .*?) +#", (work / "README.md").read_text(), re.MULTILINE)
    shown = installed.run(*first.split(), cwd=work)
    assert "00 slides" in shown and str(work / "runs" / "demo") in shown
    below = work / "notes"
    below.mkdir()
    campaign = subprocess.Popen(
        [*second.split(), *TINY], cwd=below, env=installed.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    end = time.monotonic() + DEADLINE_S
    done = work / "runs" / "demo" / "phases" / "00-slides" / "done.json"
    while not done.exists() and campaign.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
    campaign.send_signal(signal.SIGTERM)
    said = campaign.communicate(timeout=DEADLINE_S)[0].decode()
    assert done.exists() and campaign.returncode == 75, said
    frozen = {**installed.environment, "PYTHONPATH": str(work / "runs" / "demo" / "code")}
    told = subprocess.run(
        [installed.bin / "python", "-m", "launch.cli", "--version"],
        env=frozen,
        cwd=below,
        capture_output=True,
        check=True,
    )
    assert told.stdout.decode().endswith(f"(frozen in {work / 'runs' / 'demo'})\n")
