import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.liveness import local_planner, planner_pid
from mlseg_core.errors import UserError

PLANNER = """
import os, subprocess, sys, time
from pathlib import Path
from launch.liveness import TOKEN_VARIABLE, local_planner
with local_planner(Path(sys.argv[1])) as token:
    task = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], env={**os.environ, TOKEN_VARIABLE: token})
    time.sleep(60)
"""
TASK = """
import sys, time
from pathlib import Path
from launch.liveness import die_with_planner
die_with_planner(Path(sys.argv[1]))
print("alive", flush=True)
time.sleep(60)
"""


@pytest.fixture
def planner(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", PLANNER, str(tmp_path), TASK], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "alive\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_planner_is_refused(planner, tmp_path: Path) -> None:
    assert planner_pid(tmp_path) == planner.pid
    with pytest.raises(UserError, match="already running"), local_planner(tmp_path):
        pass


def test_tasks_die_with_a_killed_planner_before_the_next_begins(planner, tmp_path: Path) -> None:
    os.kill(planner.pid, signal.SIGKILL)
    planner.wait()
    assert planner_pid(tmp_path) is None
    begun = time.monotonic()
    with local_planner(tmp_path):
        assert planner.stdout.read() == ""  # the pipe ends when the task, its last holder, is gone
    assert time.monotonic() - begun < 10
