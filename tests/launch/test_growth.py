"""A corpus grows: plan says what is cut again and what stays, run takes it in when a person accepts, and cuts nothing else."""

import json
import shutil
import time
from pathlib import Path

import pytest

from launch.campaign import prepare
from launch.cli import main
from launch.completion import publish_done, survey
from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.growth import growth
from launch.phases import kind_of
from launch.run_folder import RunFolder
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import sha256_file
from tests.launch.conftest import tiny_campaign


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides of a tiny phantom, as somebody else's."""
    folder = tmp_path_factory.mktemp("drawn")
    assert main(["shards", "phantom", str(tiny_campaign(folder)), "--out", str(folder / "slides")]) == 0
    return folder / "slides"


@pytest.fixture
def config_path(drawn: Path, tmp_path: Path) -> Path:
    shutil.copytree(drawn, tmp_path / "slides", ignore=shutil.ignore_patterns("done", "progress"))
    return tiny_campaign(tmp_path, phantom=None, slides=str(tmp_path / "slides" / "slides.csv"))


@pytest.fixture
def config(config_path: Path) -> CampaignConfig:
    return load_campaign(config_path, [])


@pytest.fixture
def run(config: CampaignConfig) -> RunFolder:
    """Shards are cut; base and all that follows has yet to be done."""
    made = prepare(config).run
    cut(config, made)
    return made


def cut(config: CampaignConfig, run: RunFolder) -> None:
    """As the job of the phase does."""
    phase = next(phase for phase in build_graph(config) if phase.kind == "shards")
    work = kind_of(phase).map_work(config, run, phase)
    assert run_units(work.units, work.work, run.data / "shards", describe=work.describe) == []
    work.publish()
    assert publish_done(config, phase, run, {}, time.time(), "test")


def tars(run: RunFolder) -> dict[str, tuple[int, str]]:
    """Name -> inode and hash: a tar that was not made again has the same inode."""
    return {path.name: (path.stat().st_ino, sha256_file(path)) for path in sorted(run.data.glob("shards/*.tar"))}


def remove_a_shape(slides: Path, name: str) -> None:
    path = slides / f"{name}.geojson"
    tree = json.loads(path.read_text())
    tree["features"].pop()
    path.write_text(json.dumps(tree))


def shards_of(config: CampaignConfig, run: RunFolder):
    return next(
        one for one in survey(config, build_graph(config), run, growth(config, run)) if one.phase.kind == "shards"
    )


def test_nothing_changed(config, run) -> None:
    assert growth(config, run) is None and shards_of(config, run).state == "done"
    (config.slides.parent / "train-000-ER.geojson").touch()
    assert growth(config, run) is None, "it was looked at, and is the same"


def test_a_corrected_annotation(config_path, config, run, capsys) -> None:
    before = tars(run)
    remove_a_shape(config.slides.parent, "train-000-ER")
    assert main(["plan", str(config_path)]) == 0
    said = capsys.readouterr()
    assert (
        "shards is stale: slides changed: 1 to cut, 3 stay as they are; first: train-000-ER (its annotation changed)"
        in (" ".join(said.out.split()))
    )
    assert "with --accept it does what is shown here" in said.err
    campaign = prepare(config)  # without --accept
    assert [one.state for one in campaign.completions if one.phase.kind == "shards"] == ["done"]
    assert any("goes on with the shards that it has; --accept takes the change in" in one for one in campaign.warnings)
    campaign = prepare(config, accept=True)
    assert [one.state for one in campaign.completions if one.phase.kind == "shards"] == ["missing"]
    cut(config, run)
    after = tars(run)
    new = {name for name, facts in after.items() if before.get(name) != facts}
    assert new and all(name.startswith("train-000-ER") for name in new)
    assert growth(config, run) is None and shards_of(config, run).state == "done"


def test_a_new_slide_and_one_that_left(config_path, config, run) -> None:
    table, slides = config.slides, config.slides.parent
    rows = table.read_text().splitlines()
    for end in ("tif", "geojson"):
        shutil.copy(slides / f"train-001-HER2.{end}", slides / f"train-009-HER2.{end}")
    with (slides / "train-009-HER2.tif").open("ab") as file:
        file.write(b"another slide")
    new = (
        next(row for row in rows if row.startswith("train-001"))
        .replace("train-001", "train-009")
        .replace("P002", "P009")
    )
    table.write_text("\n".join([row for row in rows if not row.startswith("test-000")] + [new]) + "\n")
    edited = load_campaign(config_path, [])
    found = shards_of(edited, run)
    assert found.state == "stale" and "1 to cut, 1 to drop, 3 stay as they are" in found.why and found.keeps
    before = tars(run)
    prepare(edited, accept=True)
    cut(edited, run)
    kept = {name: facts for name, facts in tars(run).items() if name in before}
    assert kept == before, "what is dropped stays until it is pruned, what is kept is not cut again"


def test_shards_that_regenerate_made_anew_stay(config_path, config, run) -> None:
    remove_a_shape(config.slides.parent, "train-000-ER")
    assert main(["shards", "regenerate", str(config_path)]) == 0
    before = tars(run)
    found = shards_of(config, run)
    assert found.state == "stale" and found.keeps
    prepare(config, accept=True)
    cut(config, run)
    assert tars(run) == before


def test_other_settings_cut_everything_again(config_path, config, run) -> None:
    edited = load_campaign(config_path, ["shards.max_per_class=5"])
    found = shards_of(edited, run)
    assert (found.state, found.why, found.keeps) == ("stale", "its config changed", False)
    prepare(edited, accept=True)
    assert not tars(run), "they were set aside"
