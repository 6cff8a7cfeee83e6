"""Which jobs in the queue are a run's: by id, name and run folder, whoever owns them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from launch.guard import check_jobs
from launch.run_folder import RunFolder
from launch.run_folder.identity import LENGTH, ensure_id, run_id
from launch.slurm.job_names import id_in, is_ours, job_name
from launch.slurm.job_plans import JobPlan
from launch.slurm.queue import QueuedJob
from launch.slurm.run_jobs import RunJobs, sort_jobs
from mlseg_core.errors import UserError

PLANS = [JobPlan(1, "person", {"base": {"work": "14"}, "label-1": {"work": "15", "merge": "16"}}, replan="17")]
ME = os.getuid()


def made(folder: Path, knows_ids: bool = True) -> RunFolder:
    """As prepare leaves it, but for the code."""
    run = RunFolder(folder)
    (run.code / "launch").mkdir(parents=True)
    if knows_ids:
        (run.code / "launch" / "identity.py").touch()
    ensure_id(run)
    run.config_path.write_text("name: tiny\n")
    return run


def job(main: int, name: str, folder: Path | None, state: str = "RUNNING", uid: int = ME) -> QueuedJob:
    command = f"{folder}/phases/02-base/logs/.submission_file_0123.sh" if folder else ""
    return QueuedJob(str(main), str(main), name, state, "None", "n1", "", uid, f"u{uid}", command)


def sorted_of(queue: list[QueuedJob], run: RunFolder, campaign: str = "tiny") -> dict[str, list[str]]:
    found = sort_jobs(queue, run, run_id(run), PLANS, campaign)
    return {kind: [each.main for each in jobs] for kind, jobs in vars(found).items() if jobs}


def test_an_id_is_made_once_and_follows_a_moved_folder(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    first = run_id(run)
    assert len(first) == LENGTH and ensure_id(run) == first
    run.path.rename(tmp_path / "moved")
    moved = RunFolder(tmp_path / "moved")
    assert run_id(moved) == first and ensure_id(moved) == first
    assert json.loads((moved.path / "run.json").read_text())["path"] == str(moved.path)


def test_a_copy_gets_an_id_of_its_own(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    shutil.copytree(run.path, tmp_path / "copy")
    copy = RunFolder(tmp_path / "copy")
    assert run_id(copy) == "" and ensure_id(copy) not in ("", run_id(run))


def test_a_run_whose_frozen_code_knows_no_ids_gets_none_until_it_does(tmp_path: Path) -> None:
    run = made(tmp_path / "run", knows_ids=False)
    assert run_id(run) == "" and ensure_id(run) == ""
    (run.code / "launch" / "identity.py").touch()  # --accept-code
    assert ensure_id(run) and run.is_of_earlier_version


def test_a_name_begins_with_what_the_job_does_where_the_frozen_code_knows_such_names(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    mark = run_id(run)
    assert job_name(run, "tiny", "02-base-work", mark) == f"mlseg-tiny-02-base-work.{mark}"
    (run.code / "launch" / "slurm").mkdir()
    (run.code / "launch" / "slurm" / "job_names.py").touch()  # wherever it lies by then
    name = job_name(run, "tiny", "02-base-work", mark)
    assert (
        name == f"02-base-work.mlseg-tiny.{mark}" and name[:8] == "02-base-" and is_ours(name) and id_in(name) == mark
    )
    assert job_name(run, "tiny", "replan") == "replan.mlseg-tiny" and not id_in("replan.mlseg-tiny")


def test_jobs_of_a_run_with_an_id_by_both_forms_of_names(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    mark, other = run_id(run), "x" * LENGTH
    queue = [
        job(14, f"02-base-work.mlseg-tiny.{mark}", run.path),
        job(17, f"replan.mlseg-tiny.{mark}", run.path, uid=ME + 1),
        job(15, f"03-label-1-work.mlseg-tiny.{mark}", tmp_path / "before"),
        job(16, "03-label-1-work.mlseg-tiny", run.path),
        job(20, f"02-base-work.mlseg-tiny.{other}", run.path),
        job(21, f"02-base-work.mlseg-tiny.{other}", tmp_path / "gone"),
        job(22, f"02-base-work.mlseg-tiny.{mark}", run.path),
        job(23, "preflight.mlseg-tiny", None),
        job(24, f"02-base-work.mlseg-tiny.{other}", tmp_path / "gone", uid=ME + 1),
        job(25, f"02-base-work.mlseg-tiny-rehearsal.{other}", tmp_path / "gone"),
    ]
    expected = {"mine": ["14", "17"], "elsewhere": ["15"], "strangers": ["16", "20"], "orphans": ["21"]}
    assert sorted_of(queue, run) == expected


def test_jobs_of_a_run_with_an_id(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    mark, other = run_id(run), "x" * LENGTH
    queue = [
        job(14, f"mlseg-tiny-02-base-work.{mark}", run.path),
        job(17, f"mlseg-tiny-replan.{mark}", run.path, uid=ME + 1),
        job(15, f"mlseg-tiny-03-label-1-work.{mark}", tmp_path / "before"),
        job(16, "mlseg-tiny-03-label-1-work", run.path),  # the number is the plan's, the name is not
        job(20, f"mlseg-tiny-02-base-work.{other}", run.path),
        job(21, f"mlseg-tiny-02-base-work.{other}", tmp_path / "gone"),
        job(22, f"mlseg-tiny-02-base-work.{mark}", run.path),  # of a planner that is at it
        job(23, "mlseg-tiny-preflight", None),
        job(24, f"mlseg-tiny-02-base-work.{other}", tmp_path / "gone", uid=ME + 1),
        job(25, f"mlseg-tiny-rehearsal-02-base-work.{other}", tmp_path / "gone"),
    ]
    expected = {"mine": ["14", "17"], "elsewhere": ["15"], "strangers": ["16", "20"], "orphans": ["21"]}
    assert sorted_of(queue, run) == expected


def test_jobs_of_a_run_of_an_earlier_version_are_known_by_their_old_names(tmp_path: Path) -> None:
    run = made(tmp_path / "run", knows_ids=False)
    queue = [
        job(14, "mlseg-tiny-02-base-work", run.path),
        job(17, "mlseg-tiny-replan", None),
        job(16, "mlseg-tiny-03-label-1-merge", tmp_path / "before"),
        job(30, "mlseg-tiny-02-base-work", run.path),  # of another planner, at this moment
        job(31, f"mlseg-tiny-02-base-work.{'x' * LENGTH}", run.path),
    ]
    assert sorted_of(queue, run) == {"mine": ["14", "17"], "elsewhere": ["16"], "strangers": ["31"]}
    run.path.rename(tmp_path / "renamed")
    moved = RunFolder(tmp_path / "renamed")
    assert sorted_of(queue, moved, "renamed")["elsewhere"] == ["14", "16"]
    shutil.copytree(moved.path, run.path)  # of a copy, the original's jobs are not its own
    assert "14" not in sorted_of(queue, moved, "renamed").get("elsewhere", [])


def test_before_the_first_start_all_jobs_that_write_there_are_in_the_way(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    queue = [job(14, "mlseg-tiny-02-base-work", run.path), job(20, f"mlseg-tiny-replan.{'x' * LENGTH}", run.path)]
    found = sort_jobs(queue, run, "", [], "tiny")
    assert [each.main for each in found.strangers] == ["14", "20"]


@pytest.mark.parametrize(
    ("kind", "uid", "said"),
    [
        ("mine", ME + 1, f"jobs 14, 15 of this campaign belong to u{ME + 1}"),
        ("elsewhere", ME, "of this run write to /before, from where its folder was moved"),
        ("strangers", ME, "another run still write into this folder.*scancel 14 15"),
        ("orphans", ME, "belong to a run of the same name in /before, which is gone.*scancel 14 15"),
    ],
)
def test_what_is_in_the_way_is_named_with_what_to_do(tmp_path: Path, kind: str, uid: int, said: str) -> None:
    run = RunFolder(tmp_path / "run")
    jobs = RunJobs([], [], [], [])
    getattr(jobs, kind).extend(job(number, "mlseg-tiny-02-base-work", Path("/before"), uid=uid) for number in (15, 14))
    with pytest.raises(UserError, match=said):
        check_jobs(run, [], jobs)
    ended = RunJobs([], [], [], [])
    getattr(ended, kind).append(job(14, "mlseg-tiny-02-base-work", Path("/before"), "COMPLETED", uid))
    check_jobs(run, [], ended)


def test_ones_own_jobs_are_in_nobodys_way(tmp_path: Path) -> None:
    check_jobs(RunFolder(tmp_path / "run"), [], RunJobs([job(14, "mlseg-tiny-replan", tmp_path)], [], [], []))
