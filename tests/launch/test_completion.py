import os
import time
from pathlib import Path

import pytest
import yaml

from launch.campaign import prepare
from launch.completion import input_hashes, publish_done, recipe_hash, set_aside, survey
from launch.config import CampaignConfig, load_campaign
from launch.graph import Phase, build_graph
from launch.phases import kind_of
from launch.phases.learn import Train
from launch.run_folder import RunFolder
from mlseg_core.config import dump_config
from mlseg_core.errors import UserError


@pytest.fixture
def run(config: CampaignConfig) -> RunFolder:
    return RunFolder.of(config)


def finish(config: CampaignConfig, run: RunFolder, phase: Phase) -> None:
    """Publish the phase as a job would, with a manifest that holds its name."""
    manifest = kind_of(phase).manifest(run, phase)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(phase.name)
    done = {completion.phase.name: completion.done for completion in survey(config, build_graph(config), run)}
    inputs = {name: done[name]["outputs"]["sha256"] for name in phase.inputs}
    assert publish_done(config, phase, run, inputs, time.time(), "1-0")


def states(config: CampaignConfig, run: RunFolder) -> dict[str, str]:
    return {completion.phase.name: completion.state for completion in survey(config, build_graph(config), run)}


def test_a_finished_campaign_is_done(config: CampaignConfig, run: RunFolder) -> None:
    for phase in build_graph(config):
        finish(config, run, phase)
    assert set(states(config, run).values()) == {"done"}


def test_only_one_attempt_publishes(config: CampaignConfig, run: RunFolder) -> None:
    slides = build_graph(config)[0]
    finish(config, run, slides)
    first = (run.phase(slides) / "done.json").read_bytes()
    assert not publish_done(config, slides, run, {}, time.time(), "2-0")
    assert (run.phase(slides) / "done.json").read_bytes() == first


def test_an_edit_invalidates_its_phase_and_those_after_it(config_path: Path, config: CampaignConfig, run) -> None:
    for phase in build_graph(config):
        finish(config, run, phase)
    edited = load_campaign(config_path, ["steps.master-1.lr=0.5"])
    stale = [name for name, state in states(edited, run).items() if state == "stale"]
    assert stale == ["master-1", "evaluate", "report"]
    set_aside(survey(edited, build_graph(edited), run), run)
    assert states(edited, run) == {**dict.fromkeys(states(config, run), "done"), **dict.fromkeys(stale, "missing")}
    assert len(list((run.path / "aside").iterdir())) == 4  # three phases and the report's folder


def test_speed_settings_invalidate_nothing(config_path: Path, config: CampaignConfig, run: RunFolder) -> None:
    for phase in build_graph(config):
        finish(config, run, phase)
    edited = load_campaign(config_path, ["train.workers=3", "cluster.label.workers=7"])
    assert set(states(edited, run).values()) == {"done"}


def test_training_of_an_earlier_recipe_stays_valid_and_one_of_any_other_does_not(config, run, monkeypatch) -> None:
    """A run of earlier code continues with its frozen code, which knows the earlier number only."""
    with monkeypatch.context() as frozen:
        frozen.setattr(Train, "recipe_version", Train.earlier_recipes[-1])
        for phase in build_graph(config):
            if phase.name == "master-1":
                inputs = input_hashes(build_graph(config), phase, run)
                run.write_state(phase, recipe=recipe_hash(config, phase), inputs=inputs, status="interrupted")
                break
            finish(config, run, phase)
    assert "stale" not in states(config, run).values() and states(config, run)["base"] == "done"
    monkeypatch.setattr(Train, "earlier_recipes", ())
    assert states(config, run)["base"] == states(config, run)["master-1"] == "stale"


def test_a_half_done_phase_is_stale_under_another_config(config_path: Path, config: CampaignConfig, run) -> None:
    slides = build_graph(config)[0]
    run.write_state(slides, recipe=recipe_hash(config, slides), inputs={}, status="interrupted")
    assert states(config, run)["slides"] == "missing"
    assert states(load_campaign(config_path, ["phantom.seed=8"]), run)["slides"] == "stale"


def test_a_changed_manifest_is_noticed_and_a_touched_one_is_not(config: CampaignConfig, run: RunFolder) -> None:
    slides = build_graph(config)[0]
    finish(config, run, slides)
    manifest = kind_of(slides).manifest(run, slides)
    os.utime(manifest, (1, 1))
    assert states(config, run)["slides"] == "done"
    manifest.write_text("SLIDES")
    assert states(config, run)["slides"] == "stale"


def test_no_done_without_a_manifest(config: CampaignConfig, run: RunFolder) -> None:
    slides = build_graph(config)[0]
    run.phase(slides).mkdir(parents=True)
    with pytest.raises(UserError, match="without its manifest"):
        publish_done(config, slides, run, {}, time.time(), "1-0")


def test_threads_that_nobody_chose_change_nothing_of_an_earlier_run(make_campaign, tmp_path) -> None:
    """Earlier code recorded a default of 4, and knows no `auto`; a number that somebody chose stays it."""
    raw = yaml.safe_load(make_campaign().read_text())
    del raw["train"]["workers"]
    path = make_campaign(train=raw["train"])
    config = load_campaign(path)
    assert config.train.workers == "auto"
    assert "workers" not in config.train.model_dump() and "workers" not in config.model_dump(mode="json")["train"]
    chosen = {value: load_campaign(path, [f"train.workers={value}"]) for value in ("4", "8", "auto")}
    shown = {name: one.model_dump(mode="json")["train"]["workers"] for name, one in chosen.items()}
    assert shown == {"4": 4, "8": 8, "auto": "auto"}
    graph = build_graph(config)
    for one in chosen.values():
        assert [recipe_hash(one, phase) for phase in graph] == [recipe_hash(config, phase) for phase in graph]

    run = RunFolder.of(config)
    prepare(config)
    recorded = yaml.safe_load(run.config_path.read_text())
    assert "workers" not in recorded["train"] and run.config().train.workers == "auto"
    dump_config(chosen["4"], run.config_path)  # as earlier code would have
    before = run.config_path.read_bytes()
    prepare(config)
    assert run.config_path.read_bytes() == before
    prepare(chosen["8"])
    assert run.config().train.workers == 8
