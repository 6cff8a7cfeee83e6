"""A cause that a person has to fix comes before its consequences, whoever wrote last."""

import errno
import tempfile
from pathlib import Path

import pytest

from launch.config import CampaignConfig
from launch.endings import in_words_for_a_person
from launch.graph import Phase
from launch.job import PhaseProcess
from launch.planner import verdict
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan
from mlseg_core.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    Interrupted,
    UserError,
    exit_status,
    for_a_person,
)
from mlseg_core.files import overwrite
from mlseg_dist.training.checkpoint import NotSaved

BASE = Phase(2, "base", "train")
PLANS = [JobPlan(1, "person", {"base": {"work": "14"}})]


def process(run: RunFolder, index: int, job: str = "14") -> PhaseProcess:
    return PhaseProcess(run, "work", index, f"{job}-0", job, "/log")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    return run


@pytest.mark.parametrize("last", [0, 1])
def test_a_full_disk_is_told_though_another_rank_has_the_last_word(run: RunFolder, last: int) -> None:
    said = [UserError("no space left on device", "/run"), RuntimeError("another rank is gone")]
    status = ["user error", "failed"]
    for index in (0, 1):
        process(run, index).report(BASE, "running")
    for index in (1 - last, last):
        process(run, index).report(BASE, status[index], said[index])
    found = verdict(run, BASE, PLANS)
    assert found["status"] == "user error" and "no space left" in found["error"]
    assert run.state(BASE)["status"] == "user error"


def test_the_merge_of_a_map_does_not_hide_what_its_workers_met(run: RunFolder) -> None:
    label = Phase(3, "label-1", "label")
    plans = [JobPlan(1, "person", {"label-1": {"work": "15", "merge": "16"}})]
    PhaseProcess(run, "work", 1, "15_1-0", "15_1", "/log").report(label, "user error", UserError("the disk is full"))
    PhaseProcess(run, "merge", 0, "16-0", "16", "/log").report(label, "failed", RuntimeError("2 units are not done"))
    assert "the disk is full" in verdict(run, label, plans)["error"]


def test_what_an_older_job_met_excuses_no_newer_one(run: RunFolder) -> None:
    process(run, 1).report(BASE, "user error", UserError("the disk is full"))
    process(run, 0, "20").report(BASE, "failed", RuntimeError("it broke"))
    newer = [*PLANS, JobPlan(2, "replan", {"base": {"work": "20"}})]
    assert verdict(run, BASE, newer)["status"] == "failed"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_causes_that_a_person_has_to_fix(run: RunFolder, number: int) -> None:
    error = OSError(number, "as the system says it", str(run.path / "x"))
    assert exit_status(error) == EXIT_USER_ERROR and str(run.path / "x") in str(for_a_person(error))
    not_saved = NotSaved("Checkpoint of step 3 is not on disk")
    not_saved.__cause__ = OSError(number, "as the system says it")
    assert str(in_words_for_a_person(not_saved, run)).startswith("Checkpoint of step 3 is not on disk. ")


def test_others_may_go_away_by_themselves(run: RunFolder) -> None:
    for error in (OSError(errno.EIO, "x"), OSError(errno.ESTALE, "x"), FileNotFoundError(2, "x"), RuntimeError("x")):
        assert exit_status(error) == EXIT_FAILED and in_words_for_a_person(error, run) is error
    assert exit_status(Interrupted("x")) == EXIT_INTERRUPTED


def test_a_full_disk_of_the_node_is_no_matter_for_a_person(config: CampaignConfig, monkeypatch, tmp_path) -> None:
    run, scratch = RunFolder(tmp_path / "run"), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    error = OSError(errno.ENOSPC, "No space left on device", str(scratch / "x"))
    assert in_words_for_a_person(error, run) is error


def test_a_last_word_is_written_over_an_older_one_without_room(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert not overwrite(path, "new")
    path.write_text("something longer")
    assert overwrite(path, "new") and path.read_text() == "new"
