"""A run folder's disk that fills up: said in words, no node is blamed, nothing is tried again before a person has made room."""

import json
import subprocess

import pytest

from tests.cluster.campaign import Campaign
from tests.cluster.commands import mlseg, status

pytestmark = pytest.mark.cluster
_ENDS_AFTER_S = 14  # train.health.end_after_s of the campaign


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED on a full disk: a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def fill(place) -> None:
    with open(place / "ballast", "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_a_disk_that_is_full_at_the_last_save(slurm, disk) -> None:
    campaign = Campaign(slurm, disk / "run")
    campaign.start("train.checkpoint_every=1000")
    state = campaign.run / "code" / "mlseg_dist" / "training" / "state" / "training_state.py"
    patience = f"_PATIENCE_S = {_ENDS_AFTER_S + 10}.0"
    state.write_text(state.read_text().replace("_PATIENCE_S = 120.0", patience))
    assert patience in state.read_text()
    try:
        campaign.until(lambda: campaign.step("base") >= 1)
        fill(disk)
        campaign.until(campaign.is_quiet, 240, 1)
        shown = status(slurm, campaign.run)
        base = shown["phases"][2]
        assert base["state"] == "failed" and "No space left on device" in base["why"], campaign.said()
        assert "phase base stopped for something that a person has to fix" in shown["alert"], shown["alert"]
        assert "Free some space there" in shown["alert"]
        assert len(campaign.plans) == 1 and not shown["avoided"]
        assert not campaign.told("base", "stuck")

        (disk / "ballast").unlink()
        again = mlseg(slurm, "retry", campaign.run, "base")
        assert again.returncode == 0, again.stderr
        assert [plan["by"] for plan in campaign.plans] == ["person", "person"]
        campaign.until(lambda: campaign.is_done("base"), 240, 0.5)
    finally:
        mlseg(slurm, "cancel", campaign.run)
        campaign.until(campaign.is_quiet, 60, 0.5)


def test_a_map_and_its_merge_that_meet_a_full_disk(slurm, disk) -> None:
    campaign = Campaign(slurm, disk / "run")
    campaign.start()
    try:
        campaign.until(lambda: list((campaign.data("shards") / "progress").glob("[0-9]*.json")), every_s=0.01)
        fill(disk)
        campaign.until(campaign.is_quiet, 240, 1)
        shown = status(slurm, campaign.run)
        ended = next(phase for phase in shown["phases"] if phase["state"] != "done")
        assert ended["state"] == "failed" and "no space left" in ended["why"].lower(), json.dumps(shown, indent=1)
        assert "a person has to fix" in shown["alert"] and len(campaign.plans) == 1
    finally:
        (disk / "ballast").unlink()
        mlseg(slurm, "cancel", campaign.run)
