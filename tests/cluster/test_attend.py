"""Where jobs may not submit jobs, `mlseg run` stays, and a phase that fails is planned again by it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launch.slurm.replan import EVERY_S
from tests.cluster.campaign import Campaign
from tests.cluster.commands import PROJECT, mlseg, said_by, sbatch, status

pytestmark = pytest.mark.cluster


def stays(slurm, campaign: Campaign, log: Path) -> subprocess.Popen[str]:
    """`mlseg run`, but that it looks every second. log: what it says."""
    code = (
        "import launch.slurm.replan, sys; from launch.cli import main\n"
        "launch.slurm.replan.attend.__defaults__ = (1.0,)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, "run", str(campaign.config), "cluster.replan=login", "cluster.retries=1"]
    with open(log, "w") as file:
        return subprocess.Popen(words, cwd=PROJECT, env=slurm.environment, stdout=file, stderr=file, text=True)


def test_what_fails_is_planned_again_by_whoever_stays(slurm, tmp_path) -> None:
    campaign, log = Campaign(slurm, tmp_path / "run"), tmp_path / "said"
    person = stays(slurm, campaign, log)
    try:
        campaign.until(lambda: campaign.plans and campaign.step("base") >= 1)
        for pid in campaign.processes("base").values():
            os.kill(pid, signal.SIGKILL)
        campaign.until(lambda: "base lost: planned again" in log.read_text())
        assert len(campaign.plans) == 2
        person.send_signal(signal.SIGINT)  # the connection is lost, and somebody comes back
        assert person.wait(60) == 75, log.read_text()
        person = stays(slurm, campaign, log)
        status_of_second = person.wait(600)
    finally:
        person.kill()
    said = log.read_text()
    assert status_of_second == 0 and "nothing to submit" in said and "report" in said, said
    assert status(slurm, campaign.run)["done"]
    assert [plan["by"] for plan in campaign.plans] == ["person", "replan"]
    assert not any(plan["replan"] for plan in campaign.plans), "no job of ours submits jobs"


def test_what_keeps_failing_is_left_to_a_person(slurm, tmp_path) -> None:
    campaign = Campaign(slurm, tmp_path / "run")
    (campaign.folder / "broken").touch()
    log = tmp_path / "said"
    assert stays(slurm, campaign, log).wait(300) == 1
    assert "phase base failed 2 times" in log.read_text()
    assert "phase base failed 2 times" in status(slurm, campaign.run)["alert"]
    campaign.until(campaign.is_quiet, 60, 0.3)
    assert mlseg(slurm, "cancel", campaign.run).returncode == 0


def test_a_job_does_not_stay(slurm, make_campaign) -> None:
    config = make_campaign()
    master = sbatch(slurm, config, "cluster.replan=login")
    slurm.wait_for(lambda: slurm.jobs().get(master) in ("COMPLETED", "FAILED"), 60)
    assert slurm.jobs()[master] == "FAILED"
    assert "cluster.replan: it is `login`, but this is a job. On the login node: bash slurm/master.sh" in said_by(
        slurm, master
    )
    assert EVERY_S >= 30, "sites do not like to be asked more often"
