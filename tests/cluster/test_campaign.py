"""Whole campaigns on a real SLURM: three slurmd on this host, training on two of them."""

import json
from pathlib import Path

import pytest

from tests.cluster.commands import is_quiet, main_id, mlseg, said_by, sbatch, status
from tests.launch.servers import web_server

pytestmark = pytest.mark.cluster


def states(slurm, config: Path) -> dict[str, str]:
    return {phase["name"]: phase["state"] for phase in status(slurm, config)["phases"]}


def test_sbatch_master_runs_every_phase(slurm, make_campaign) -> None:
    config = make_campaign()
    first = sbatch(slurm, config)
    second = sbatch(slurm, config)  # at once: one plan counts, the other's jobs are taken back
    slurm.wait_for(lambda: all(slurm.jobs().get(job) in ("COMPLETED", "FAILED") for job in (first, second)), 60)
    assert slurm.jobs()[first] == slurm.jobs()[second] == "COMPLETED", said_by(slurm, first) + said_by(slurm, second)
    slurm.wait_for(lambda: is_quiet(slurm, first), 600, 2)

    shown = status(slurm, config)
    assert shown["done"], json.dumps(shown, indent=1)
    assert {phase["state"] for phase in shown["phases"]} == {"done"}
    run = Path(shown["run"])
    plans = sorted((run / "plans").glob("0*.json"))
    assert len(plans) == 1
    plan = json.loads(plans[0].read_text())
    ids = {job for parts in plan["jobs"].values() for job in parts.values()}
    jobs = slurm.jobs()
    assert {state for job, state in jobs.items() if job.split("_")[0] in ids} == {"COMPLETED"}
    others = {state for job, state in jobs.items() if main_id(job) > int(second) and job.split("_")[0] not in ids}
    assert others <= {"CANCELLED"}  # the second master's, and the re-planning job that nobody needed

    train = json.loads((run / "phases" / "02-base" / "state.json").read_text())
    assert train["status"] == "done"
    hosts = slurm.run("squeue", "-h", "-t", "all", "-j", plan["jobs"]["base"]["work"], "-o", "%D").split()
    assert hosts == ["2"]
    third = mlseg(slurm, "run", config)
    assert "all 7 phases are done" in third.stdout
    assert third.returncode == 0, third.stderr
    assert len(list((run / "plans").glob("0*.json"))) == 1


def test_a_users_mistake_ends_the_dependents_and_is_told(slurm, make_campaign, tmp_path) -> None:
    secret = tmp_path / "hook"
    config = make_campaign(alerts={"webhook_file": str(secret)})
    with web_server() as hook:
        secret.write_text(hook.url)
        master = sbatch(slurm, config, "loss.heads.answer=0")  # the base has no other head: found by its job
        slurm.wait_for(lambda: slurm.jobs().get(master) == "COMPLETED", 60)
        watch = mlseg(slurm, "status", config, "--watch", "--every", "1", "--json")
        slurm.wait_for(lambda: is_quiet(slurm, master), 180, 1)
    assert watch.returncode == 1, watch.stderr
    (told,) = hook.texts
    assert (
        told.startswith("*tiny: a person is needed*\nphase base stopped") and "every head (high) has weight 0" in told
    )
    shown = status(slurm, config)
    run = Path(shown["run"])
    assert shown["fix"] == f"mlseg retry {run} base" and not shown["goes_on"], shown
    written = [path for path in run.rglob("*") if path.is_file() and "code" not in path.parts]
    assert not any(b"s3cret" in path.read_bytes() for path in written), "the webhook's address is written nowhere"
    phases = {phase["name"]: phase for phase in shown["phases"]}
    assert phases["shards"]["state"] == "done"
    assert phases["base"]["state"] == "failed"
    assert "every head (high) has weight 0" in phases["base"]["why"]
    assert {phases[name]["state"] for name in ("label-1", "master-1", "evaluate", "report")} == {"waiting"}
    assert "a person has to fix" in shown["alert"]
    assert len(list((Path(shown["run"]) / "plans").glob("0*.json"))) == 1  # no retry would help


def test_a_failing_phase_is_planned_again_and_then_left_to_a_person(slurm, make_campaign) -> None:
    config = make_campaign(train={"nodes": 2, "setup": ["exit 7"]}, retries=1)
    master = sbatch(slurm, config)
    slurm.wait_for(lambda: slurm.jobs().get(master) == "COMPLETED", 60)
    slurm.wait_for(lambda: is_quiet(slurm, master), 180, 1)
    shown = status(slurm, config)
    assert shown["phases"][2]["state"] == "lost"
    assert "FAILED" in shown["phases"][2]["why"]
    assert "phase base failed 2 times" in shown["alert"]
    plans = [json.loads(path.read_text()) for path in sorted((Path(shown["run"]) / "plans").glob("0*.json"))]
    assert [plan["by"] for plan in plans] == ["person", "replan"]
    assert plans[1]["reasons"]["base"] == "lost"
    assert "slides" not in plans[1]["jobs"]


def test_a_job_that_dies_without_a_word_after_an_interruption_is_not_tried_for_ever(
    slurm, make_campaign, tmp_path
) -> None:
    """What the interrupted job said must not excuse those that die after it."""
    broken = tmp_path / "broken"
    config = make_campaign(train={"nodes": 2, "setup": [f"test ! -e '{broken}' || exit 7"]}, retries=1)
    assert mlseg(slurm, "run", config, "steps.base.epochs=60").returncode == 0
    run = Path(status(slurm, config)["run"])
    slurm.wait_for((run / "phases" / "02-base" / "progress" / "0.json").exists, 120)
    broken.touch()
    slurm.run("scancel", "--signal=TERM", plan_of(slurm, config)["jobs"]["base"]["work"])
    slurm.wait_for((run / "alert.json").exists, 240)
    plans = [json.loads(path.read_text()) for path in sorted((run / "plans").glob("0*.json"))]
    assert [plan["reasons"].get("base") for plan in plans] == ["new", "interrupted", "lost"]
    base = next(phase for phase in status(slurm, config)["phases"] if phase["name"] == "base")
    assert base["state"] == "lost" and "FAILED" in base["why"], base


def test_cancel_ends_all_jobs_and_nothing_brings_them_back(slurm, make_campaign) -> None:
    config = make_campaign()
    assert mlseg(slurm, "run", config).returncode == 0
    first = min(int(job) for parts in plan_of(slurm, config)["jobs"].values() for job in parts.values())
    other = mlseg(slurm, "run", config, "cluster.retries=7")
    assert other.returncode == 2
    assert (
        "jobs of the campaign are in the queue, and its config would change: cluster.retries is 7, was" in other.stderr
    )
    assert mlseg(slurm, "cancel", config).returncode == 0
    slurm.wait_for(lambda: is_quiet(slurm, str(first)), 60)
    assert "done" not in set(list(states(slurm, config).values())[2:])
    plans = sorted((Path(status(slurm, config)["run"]) / "plans").glob("0*.json"))
    assert [json.loads(path.read_text())["by"] for path in plans] == ["person", "cancel"]


def test_a_strangers_job_with_an_id_of_ours_is_left_alone(slurm, make_campaign) -> None:
    """A slurmctld that has lost its state counts from 1 again: another of the user's jobs has the id that a plan names."""
    config = make_campaign()
    assert mlseg(slurm, "run", config).returncode == 0
    assert mlseg(slurm, "cancel", config).returncode == 0
    stranger = slurm.run("sbatch", "--parsable", "-J", "stranger", "-o", "/dev/null", "--wrap", "sleep 600").strip()
    try:
        slurm.wait_for(lambda: slurm.jobs().get(stranger) == "RUNNING", 120)
        path = Path(status(slurm, config)["run"]) / "plans" / "0001.json"
        plan = json.loads(path.read_text())
        old = plan["jobs"]["base"]["work"]
        plan["jobs"]["base"]["work"] = stranger
        path.write_text(json.dumps(plan))

        assert states(slurm, config)["base"] not in ("running", "queued")
        assert mlseg(slurm, "cancel", config).returncode == 0
        assert mlseg(slurm, "run", config).returncode == 0
        assert plan_of(slurm, config)["jobs"]["base"]["work"] not in (old, stranger)
        assert mlseg(slurm, "cancel", config).returncode == 0
        assert slurm.jobs()[stranger] == "RUNNING"
    finally:
        slurm.run("scancel", stranger)


def test_a_preempted_training_saves_requeues_itself_and_goes_on(slurm, make_campaign) -> None:
    config = make_campaign()
    assert mlseg(slurm, "run", config, "steps.base.epochs=60").returncode == 0
    plan = plan_of(slurm, config)
    base = Path(status(slurm, config)["run"]) / "phases" / "02-base"
    slurm.wait_for(lambda: (base / "progress" / "0.json").exists(), 120)
    slurm.run("scancel", "--signal=USR2", plan["jobs"]["base"]["work"])
    slurm.wait_for((base / "done.json").exists, 240)
    attempt = json.loads((base / "done.json").read_text())["attempt"]
    assert attempt.startswith(f"{plan['jobs']['base']['work']}-1-")  # restarted once
    log = (base / "logs" / f"{plan['jobs']['base']['work']}_0_log.out").read_text()
    assert "interrupted: base: stopped at step" in log
    assert plan_of(slurm, config) == plan  # nothing had to be planned again
    mlseg(slurm, "cancel", config)


def plan_of(slurm, config: Path) -> dict:
    run = Path(status(slurm, config)["run"])
    return json.loads(sorted((run / "plans").glob("0*.json"))[-1].read_text())
