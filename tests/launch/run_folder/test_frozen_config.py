"""A config that newer code records must be one that the run's frozen code takes: its jobs read it."""

from pathlib import Path

import pytest

from launch.campaign import prepare
from launch.config import CampaignConfig, load_campaign
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json


@pytest.fixture
def earlier(config: CampaignConfig) -> RunFolder:
    """A run whose frozen code knows only numbers as `train.workers`, as that of earlier versions does."""
    prepare(config)
    run = RunFolder.of(config)
    source = run.code / "mlseg_dist" / "config" / "training.py"
    known = source.read_text()
    newer = 'workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"'
    assert newer in known
    source.write_text(known.replace(newer, "workers: Annotated[int, Field(ge=0)] = 4"))
    write_json(run.code / "frozen.json", {**read_json(run.code / "frozen.json"), "hash": "of other code"})
    return run


def test_a_value_that_the_frozen_code_refuses_is_refused_before_it_is_recorded(
    earlier: RunFolder, config_path: Path
) -> None:
    before = earlier.config_path.read_bytes()
    with pytest.raises(UserError) as refused:
        prepare(load_campaign(config_path, ["train.workers=auto"]))
    assert "'train.workers': Input should be a valid integer" in str(refused.value)
    assert "--accept-code" in str(refused.value) and "\n" not in str(refused.value)
    assert earlier.config_path.read_bytes() == before
    assert {path.name for path in earlier.path.iterdir()} >= {"campaign.yaml", "code"}
    assert not list(earlier.path.glob(".tmp*"))


def test_one_that_it_takes_is_recorded_and_told(earlier: RunFolder, config_path: Path) -> None:
    campaign = prepare(load_campaign(config_path, ["train.workers=2"]))
    assert any("train.workers is 2, was 1" in warning for warning in campaign.warnings), campaign.warnings
    assert earlier.config().train.workers == 2


def test_with_the_new_code_it_is_recorded(earlier: RunFolder, config_path: Path) -> None:
    prepare(load_campaign(config_path, ["train.workers=auto"]), accept_code=True)
    assert earlier.config().train.workers == "auto"
