import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from launch.guard import check_local
from launch.local import record as local_record
from launch.local.liveness import local_planner, planner_pid, running_planner
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError

PLANNER = """
import os, subprocess, sys, time
from pathlib import Path
from launch.local.liveness import TOKEN_VARIABLE, local_planner
with local_planner(Path(sys.argv[1])) as token:
    task = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], env={**os.environ, TOKEN_VARIABLE: token})
    time.sleep(60)
"""
TASK = """
import sys, time
from pathlib import Path
from launch.local.liveness import die_with_planner
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


def test_the_run_folder_says_who_runs_it_and_where(planner, tmp_path: Path) -> None:
    found = running_planner(tmp_path)
    assert found is not None and found.pid == planner.pid and found.is_ours
    assert found.words == "is running on this machine"
    record = json.loads((tmp_path / "planner.json").read_text())
    assert (record["host"], record["uid"]) == (socket.gethostname(), os.getuid())
    os.kill(planner.pid, signal.SIGKILL)
    planner.wait()
    assert running_planner(tmp_path) is None, "killed: its record stays, and names a process that is gone"
    with local_planner(tmp_path):
        assert running_planner(tmp_path).pid == os.getpid()
    assert not (tmp_path / "planner.json").exists()


def test_a_shell_with_another_tmpdir_sees_it_and_starts_no_second_one(planner, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert running_planner(tmp_path).pid == planner.pid
    with pytest.raises(UserError, match="is running on this machine already"), local_planner(tmp_path):
        pass


def test_somebody_elses_campaign_is_not_called_lost(planner, tmp_path: Path, monkeypatch) -> None:
    """Their lock lies in a folder that we cannot see."""
    path = tmp_path / "planner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "uid": 54321, "user": "ada"}))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = running_planner(tmp_path)
    assert found is not None and not found.is_ours
    assert found.words == f"runs on this machine as ada (process {planner.pid})"
    with pytest.raises(UserError, match="runs on this machine as ada"), local_planner(tmp_path):
        pass
    with pytest.raises(UserError, match="ada can end it there"):
        check_local(RunFolder(tmp_path))


def test_a_planner_on_another_machine_is_believed_while_its_record_is_touched(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(local_record, "WATCH_S", 2.0)
    path = tmp_path / "planner.json"
    path.write_text(json.dumps({"host": "n7", "user": "ada", "uid": 1, "pid": 12, "born": 3, "token": "x"}))
    found = running_planner(tmp_path)
    assert found is not None and found.words == "runs on n7 as ada (process 12)"
    toucher = subprocess.Popen(["sh", "-c", f"sleep 0.5; touch '{path}'"])
    with pytest.raises(UserError, match="runs on n7 as ada"), local_planner(tmp_path):
        pass
    toucher.wait()
    with local_planner(tmp_path):  # it gives no sign of life any more
        assert running_planner(tmp_path).pid == os.getpid()
    path.write_text(json.dumps({"host": "n7", "user": "ada", "uid": 1, "pid": 12, "born": 3, "token": "x"}))
    os.utime(path, (time.time() - 3600,) * 2)
    assert running_planner(tmp_path) is None
