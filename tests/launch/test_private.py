"""What can hold secrets of a site's set-up lines is for its owner alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.campaign import prepare
from launch.config import load_campaign
from launch.private import holds_secrets, private_logs
from launch.resources.blocks import JobConfig
from mlseg_core.files import write_atomic

SETUP = "cluster.label.setup=[export WANDB_API_KEY=0123]"


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_config_with_set_up_lines_is_for_its_owner_alone(config_path: Path) -> None:
    run = prepare(load_campaign(config_path, [SETUP])).run
    assert mode(run.config_path) == 0o600
    run.config_path.chmod(0o640)  # shared with a group, by a person
    changed = prepare(load_campaign(config_path, [SETUP, "cluster.cut.workers=3"]))
    assert changed.config.cluster.job("cut").workers == run.config().cluster.job("cut").workers == 3
    assert mode(run.config_path) == 0o640


def test_a_config_becomes_private_with_its_first_secret(config_path: Path) -> None:
    run = prepare(load_campaign(config_path)).run
    assert mode(run.config_path) == 0o644
    prepare(load_campaign(config_path, [SETUP]))
    assert "WANDB_API_KEY" in run.config_path.read_text() and mode(run.config_path) == 0o600


def test_batch_scripts_and_logs_of_such_a_job_are_private(tmp_path: Path) -> None:
    for number, job in enumerate((JobConfig(setup=("export A=1",)), JobConfig(extra={"export": "A=1"}))):
        logs = tmp_path / str(number) / "logs"
        with private_logs(logs, job):
            (logs / "1_submission.sh").write_text("export A=1")
        assert (mode(logs), mode(logs / "1_submission.sh")) == (0o700, 0o600)
    assert not holds_secrets(JobConfig(extra={"constraint": "a100"}))
    with private_logs(tmp_path / "other", JobConfig()):
        pass
    assert not (tmp_path / "other").exists()


def test_a_private_file_is_so_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(stat.S_IMODE(os.fstat(file).st_mode)))
    os.umask(0)
    write_atomic(tmp_path / "a", "secret", mode=0o600)
    assert seen[0] == mode(tmp_path / "a") == 0o600
