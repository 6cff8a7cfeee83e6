"""mlseg clean: what no phase will read again goes, what one still reads stays, and an edit that needs it asks for it again."""

import json
import time
from pathlib import Path

import pytest

from launch.cli import main
from launch.completion import publish_done, survey
from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.kinds import kind_of
from launch.run_folder import RunFolder
from mlseg_core.config import dump_config
from mlseg_core.files import write_json
from mlseg_dist.run_folder import labels_folder, styled_folder
from shards.manifest import Manifest, ShardEntry, write_manifest_file

BYTES = 3000 + 500


def three_steps(config: CampaignConfig) -> CampaignConfig:
    last = config.steps[1].model_copy(update={"name": "master-2"})
    return config.model_copy(update={"steps": (*config.steps, last)})


def finish(config: CampaignConfig, run: RunFolder, until: str) -> None:
    """Publish every phase up to `until`; a round of labels, and styled views, have one shard with its index and seeds."""
    for phase in build_graph(config):
        if (run.phase(phase) / "done.json").exists():
            continue
        manifest = kind_of(phase).manifest(run, phase)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        if phase.kind in ("label", "style"):
            write_round(manifest.parent)
        else:
            manifest.write_text(phase.name)
        done = {standing.phase.name: standing.done for standing in survey(config, build_graph(config), run)}
        inputs = {name: done[name]["outputs"]["sha256"] for name in phase.inputs}
        assert publish_done(config, phase, run, inputs, time.time(), "1-0")
        if phase.name == until:
            return


def write_round(folder: Path) -> None:
    entries = []
    for name, size in (("a.tar", 3000), ("ab.tar", 500)):
        facts = {"sha256": "", "index_sha256": "", "samples": 1, "slide": "a", "split": "train", "of": name}
        entries.append(ShardEntry(name=name, bytes=size, **facts))
        (folder / name).write_bytes(bytes(size))
    (folder / "seeds-0.npy").write_bytes(b"0")
    (folder / "stray.tar").write_bytes(b"not ours")
    members = ("high.png", "json", "low.png")
    manifest = Manifest(
        kind="labels", fingerprint="", members=members, classes=(), views={}, shards=tuple(entries), totals={}, facts={}
    )
    write_manifest_file(folder, manifest)


@pytest.fixture
def campaign(config: CampaignConfig) -> tuple[CampaignConfig, RunFolder]:
    config = three_steps(config)
    run = RunFolder.of(config)
    run.path.mkdir(parents=True)
    dump_config(config, run.config_path)
    return config, run


def tars(run: RunFolder) -> list[str]:
    return sorted(str(path.relative_to(run.data)) for path in run.data.glob("labels-*/[a]*.*"))


def test_only_rounds_whose_training_is_done_go(campaign, capsys):
    config, run = campaign
    finish(config, run, until="label-2")
    assert main(["clean", str(run.path), "--rounds", "--dry-run"]) == 0
    assert f"{BYTES} bytes would be freed" in capsys.readouterr().out
    everything = ["labels-1/a.tar", "labels-1/ab.tar", "labels-2/a.tar", "labels-2/ab.tar"]
    assert tars(run) == everything
    assert main(["clean", str(run.path), "--rounds"]) == 0
    said = capsys.readouterr().out
    assert f"{BYTES} bytes were freed" in said and "labels-2: 2 files, 0.0 MB, stays: master-2 is not done" in said
    assert tars(run) == everything[2:]
    kept = sorted(path.name for path in labels_folder(run.path, 1).iterdir())
    assert kept == ["cleaned.json", "manifest.json", "seeds-0.npy", "stray.tar"]
    states = {s.phase.name: s.state for s in survey(config, build_graph(config), run)}
    assert states["label-1"] == states["master-1"] == states["label-2"] == "done"
    assert main(["clean", str(run.path), "--rounds"]) == 0 and "0 bytes were freed" in capsys.readouterr().out


def test_killed_halfway_it_goes_on(campaign, capsys):
    config, run = campaign
    finish(config, run, until="master-1")
    folder = labels_folder(run.path, 1)
    write_json(folder / "cleaned.json", {"files": 2, "bytes": BYTES, "time": 0})
    (folder / "a.tar").unlink()
    assert main(["clean", str(run.path), "--rounds"]) == 0
    assert tars(run) == [] and "500 bytes were freed" in capsys.readouterr().out


def test_an_edit_that_needs_a_cleaned_round_makes_it_again(campaign):
    config, run = campaign
    finish(config, run, until="report")
    assert main(["clean", str(run.path), "--rounds"]) == 0 and tars(run) == []
    assert {s.state for s in survey(config, build_graph(config), run)} == {"done"}
    edited = load_campaign(run.config_path, ["steps.master-2.lr=0.5"])
    standings = {s.phase.name: s for s in survey(edited, build_graph(edited), run)}
    stale = [name for name, standing in standings.items() if standing.state == "stale"]
    assert stale == ["label-2", "master-2", "evaluate", "report"]
    assert "cleaned away, and master-2 needs them" in standings["label-2"].why
    assert standings["label-1"].state == "done", "master-1 stands, and with it the round that it read"


def test_what_was_set_aside_goes(campaign, capsys):
    config, run = campaign
    finish(config, run, until="label-1")
    run.set_aside(run.phase(build_graph(config)[0]))
    assert main(["clean", str(run.path), "--aside", "--json", "--dry-run"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["dry_run"] and said["bytes"] > 0 and said["found"][0]["files"] == 1 and (run.path / "aside").exists()
    assert main(["clean", str(run.path), "--aside"]) == 0
    assert not (run.path / "aside").exists() and tars(run) == ["labels-1/a.tar", "labels-1/ab.tar"]


def test_bad_input_is_one_line(campaign, tmp_path, capsys):
    _, run = campaign
    for words in (["clean", str(run.path)], ["clean", str(tmp_path), "--rounds"]):
        assert main(words) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1 and said.err.startswith("mlseg: error:") and not said.out


def test_styled_views_go_once_all_that_draw_them_are_done(make_campaign, capsys):
    config = load_campaign(make_campaign(styled=True))
    run = RunFolder.of(config)
    run.path.mkdir(parents=True)
    dump_config(config, run.config_path)
    finish(config, run, until="label-1")
    styled = styled_folder(run.path) / "a.tar"
    assert main(["clean", str(run.path), "--styled", "--rounds"]) == 0
    assert "styled: 2 files, 0.0 MB, stays: master-1 is not done and reads it" in capsys.readouterr().out
    assert styled.exists()
    finish(config, run, until="master-1")
    assert main(["clean", str(run.path), "--styled"]) == 0
    assert not styled.exists() and tars(run) == ["labels-1/a.tar", "labels-1/ab.tar"], "rounds were not asked for"
    states = {s.phase.name: s.state for s in survey(config, build_graph(config), run)}
    assert states["style"] == states["master-1"] == "done"
    other = load_campaign(make_campaign(styled=True), ["steps.master-1.lr=0.5"])
    again = {s.phase.name: s.state for s in survey(other, build_graph(other), run)}
    assert (again["generators"], again["style"], again["master-1"]) == ("done", "stale", "stale")
