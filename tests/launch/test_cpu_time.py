"""Commands that people type while they wait answer within a budget of CPU time, for the paper's campaign.

User and system time of the process and of those that it waits for; the best of three, because a busy machine makes each slower.
Bytecode is cached between runs, as it is where mlseg is installed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.campaign import prepare
from launch.config import load_campaign
from tests.shards.slides_for_tests import tissue_slide, write_corpus, write_slide

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "configs" / "paper.yaml"
HELP_S, LOOK_S = 0.5, 1.5
SCRIPT = "import sys; from launch.cli import main; status = main(sys.argv[1:]); sys.exit(99 if 'torch' in sys.modules else status)"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The paper's campaign on four slides of two scanners that can be read at its resolution."""
    folder = tmp_path_factory.mktemp("campaign")
    table = write_corpus(folder / "slides")
    with table.open("a") as rows:
        rows.write("s3.tif,P3,ER,Morphle,DS1,train,s0.geojson,,5\n")
    for number in range(4):
        write_slide(folder / "slides" / f"s{number}.tif", tissue_slide(number), mpp=0.5)
    return [str(PAPER), f"slides={table}", f"runs={folder / 'runs'}"]


def cpu_s(cache: Path, budget_s: float, *words: str) -> tuple[float, int]:
    """The least CPU time of at most three runs, and the exit status: 99 where torch was loaded. One within the budget is enough."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(cache), "OMP_NUM_THREADS": "1"}
    found: list[tuple[float, int]] = []
    while len(found) < 3 and (not found or min(found)[0] >= budget_s):
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, waited, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(waited)
        found.append((used.ru_utime + used.ru_stime, child.returncode))
    return min(found)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


def test_help(cache: Path) -> None:
    seconds, status = cpu_s(cache, HELP_S, "--help")
    assert (status, seconds < HELP_S) == (0, True), seconds


@pytest.mark.parametrize(("command", "status"), [("plan", 0), ("preflight", 2)])
def test_a_look_at_the_paper_campaign(cache: Path, campaign: list[str], command: str, status: int) -> None:
    """preflight finds no SLURM with GPUs here."""
    seconds, found = cpu_s(cache, LOOK_S, command, *campaign)
    assert (found, seconds < LOOK_S) == (status, True), seconds


def test_status_of_the_paper_campaign(cache: Path, campaign: list[str]) -> None:
    run = prepare(load_campaign(campaign[0], [*campaign[1:], "cluster.executor=local"])).run
    seconds, status = cpu_s(cache, LOOK_S, "status", str(run.path))
    assert (status, seconds < LOOK_S) == (0, True), seconds
