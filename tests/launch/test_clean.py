"""mlseg clean: what no phase will read again goes, what one still reads stays, and an edit that needs it asks for it again."""

import json
import time
from pathlib import Path

import pytest

from launch.cli import main
from launch.completion import publish_done, survey
from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.phases import kind_of
from launch.run_folder import RunFolder
from mlseg_core.config import dump_config
from mlseg_core.files import write_json
from mlseg_dist.run_folder import labels_folder, styled_folder
from shards.manifest import Manifest, ShardEntry, write_manifest_file
from tests.planted import lost, plant

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
        done = {completion.phase.name: completion.done for completion in survey(config, build_graph(config), run)}
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
    assert "3.5 kB would be freed" in capsys.readouterr().out
    everything = ["labels-1/a.tar", "labels-1/ab.tar", "labels-2/a.tar", "labels-2/ab.tar"]
    assert tars(run) == everything
    assert main(["clean", str(run.path), "--rounds"]) == 0
    said = capsys.readouterr().out
    assert "3.5 kB were freed" in said and "labels-2: 2 files, 3.5 kB, stays: master-2 is not done" in said
    assert tars(run) == everything[2:]
    kept = sorted(path.name for path in labels_folder(run.path, 1).iterdir())
    assert kept == ["cleaned.json", "manifest.json", "seeds-0.npy", "stray.tar"]
    states = {s.phase.name: s.state for s in survey(config, build_graph(config), run)}
    assert states["label-1"] == states["master-1"] == states["label-2"] == "done"
    assert main(["clean", str(run.path), "--rounds"]) == 0 and "0 B were freed" in capsys.readouterr().out


def test_killed_halfway_it_goes_on(campaign, capsys):
    config, run = campaign
    finish(config, run, until="master-1")
    folder = labels_folder(run.path, 1)
    write_json(folder / "cleaned.json", {"files": 2, "bytes": BYTES, "time": 0})
    (folder / "a.tar").unlink()
    assert main(["clean", str(run.path), "--rounds"]) == 0
    assert tars(run) == [] and "500 B were freed" in capsys.readouterr().out


def test_an_edit_that_needs_a_cleaned_round_makes_it_again(campaign):
    config, run = campaign
    finish(config, run, until="report")
    assert main(["clean", str(run.path), "--rounds"]) == 0 and tars(run) == []
    assert {s.state for s in survey(config, build_graph(config), run)} == {"done"}
    edited = load_campaign(run.config_path, ["steps.master-2.lr=0.5"])
    completions = {s.phase.name: s for s in survey(edited, build_graph(edited), run)}
    stale = [name for name, completion in completions.items() if completion.state == "stale"]
    assert stale == ["label-2", "master-2", "evaluate", "report"]
    assert "cleaned away, and master-2 needs them" in completions["label-2"].why
    assert completions["label-1"].state == "done", "master-1 stands, and with it the round that it read"


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
    assert "styled: 2 files, 3.5 kB, stays: master-1 is not done and reads it" in capsys.readouterr().out
    assert styled.exists()
    finish(config, run, until="master-1")
    assert main(["clean", str(run.path), "--styled"]) == 0
    assert not styled.exists() and tars(run) == ["labels-1/a.tar", "labels-1/ab.tar"], "rounds were not asked for"
    states = {s.phase.name: s.state for s in survey(config, build_graph(config), run)}
    assert states["style"] == states["master-1"] == "done"
    other = load_campaign(make_campaign(styled=True), ["steps.master-1.lr=0.5"])
    again = {s.phase.name: s.state for s in survey(other, build_graph(other), run)}
    assert (again["generators"], again["style"], again["master-1"]) == ("done", "stale", "stale")


def phase_folder_like_a_real_one(run, phase):
    """Files of every kind that phases leave."""
    folder = run.phase(phase)
    step = "checkpoints/step-00000010"
    names = [
        "state.json", "metrics.jsonl", "events.jsonl", "teacher.json", "teacher.pt", "evaluation.json", "tasks/work-0.json",
        "tasks/both-1.json", "progress/0.json", "stacks/rank-3.txt", "pictures/dev-unseen-00.png", "profile/rank-0.json.gz",
        "logs/123_0_log.out", "logs/123_4_1_log.err", "logs/123_submission.sh", "logs/123_submitted.pkl",
        "logs/123_0_result.pkl", "logs/rendezvous-1-0.json", "media/step-5/0-view.png", "media/step-5/examples.json",
        "checkpoints/LATEST", f"{step}/model.pt", f"{step}/cursor.json", "wandb/run.json", "wandb/sender-offline.json",
        "wandb/offline-run-20261129_101010-05-x-0a0b/run-05-x-0a0b.wandb",
        "wandb/offline-run-20261129_101010-05-x-0a0b/logs/debug.log", ".tmp-12-0a0b0c0d-state.json",
    ]  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("ours")
    write_json(folder / step / "META.json", {"step": 10, "files": {"model.pt": {}, "cursor.json": {}}})
    (folder / "wandb" / "latest-run").symlink_to("offline-run-20261129_101010-05-x-0a0b")
    (folder / "wandb" / "offline-run-20261129_101010-05-x-0a0b" / "tmp" / "code").mkdir(parents=True)
    (folder / "tasks").mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("older", [False, True], ids=["inventory", "older version"])
def test_of_what_was_set_aside_only_our_files_go(campaign, capsys, older):
    config, run = campaign
    finish(config, run, until="master-1")
    phase = next(phase for phase in build_graph(config) if phase.name == "master-1")
    folder = phase_folder_like_a_real_one(run, phase)
    places = [folder, folder / "logs", folder / "checkpoints/step-00000010", folder / "wandb", run.data / "labels-1"]
    planted = plant(*places)
    run.set_aside(folder)
    run.set_aside(run.data / "labels-1")
    aside = run.path / "aside"
    moved = {path.name.rsplit("-", 3)[0]: path for path in aside.iterdir()}
    late = plant(aside, moved[folder.name] / "media")
    if older:
        for path in aside.glob("*/.mlseg-files.json"):
            path.unlink()

    def now(path):
        for old, new in ((folder, moved[folder.name]), (run.data / "labels-1", moved["labels-1"])):
            if path.is_relative_to(old):
                return new / path.relative_to(old)
        return path

    (moved[folder.name] / "teacher.pt").write_text("changed by hand")
    expected = {**{now(path): data for path, data in planted.items()}, **late}
    assert main(["clean", str(run.path), "--aside", "--dry-run", "--json"]) == 0
    (room,) = json.loads(capsys.readouterr().out)["found"]
    assert any(name.endswith("media/notes.txt") for name in room["left"])
    assert main(["clean", str(run.path), "--aside"]) == 0
    said = capsys.readouterr().out
    assert f"left alone: aside/{moved[folder.name].name}/notes.txt" in said
    assert lost(expected, *map(now, places), aside, moved[folder.name] / "media") == []
    left = {path for path in aside.rglob("*") if path.is_file() and not path.is_symlink()} - expected.keys()
    stay = {"a.tar", "ab.tar", "seeds-0.npy", "stray.tar"}  # of no record, and no tars: this round was never cut
    ours = {path.name for path in left} - stay - {".mlseg-files.json"}
    assert ours == ({"teacher.pt"} if not older else set()), "what was changed since it was set aside stays"


def test_folders_that_hold_nothing_else_go_with_our_files(campaign):
    config, run = campaign
    finish(config, run, until="label-1")
    phase = next(phase for phase in build_graph(config) if phase.name == "base")
    run.set_aside(phase_folder_like_a_real_one(run, phase))
    assert main(["clean", str(run.path), "--aside"]) == 0 and not (run.path / "aside").exists()


def test_a_real_corpus_and_its_code_that_were_set_aside_go_entirely(campaign, tmp_path):
    from mlseg_core.exactly_once.run import map_in_processes
    from shards import cutting
    from tests.shards.slides_for_tests import shards_config, write_corpus

    _, run = campaign
    settings, table = shards_config(tissue_stride_um=192.0), write_corpus(tmp_path / "slides")
    todo = cutting.units(settings, table)
    map_in_processes(todo, cutting.cut, run.data / "shards", 1, describe=cutting.describe)
    cutting.write_manifest(settings, table, todo, run.data / "shards")
    (run.data / "shards" / "failed").mkdir(exist_ok=True)
    run.freeze_code()
    (run.data / "shards" / "notes.txt").write_text("mine")
    for path in (run.data / "shards", run.code):
        run.set_aside(path)
    assert main(["clean", str(run.path), "--aside"]) == 0
    left = {path.name for path in (run.path / "aside").rglob("*") if path.is_file()}
    assert left == {"notes.txt", ".mlseg-files.json"}


def test_nothing_goes_behind_a_symbolic_link(campaign, tmp_path, capsys):
    config, run = campaign
    finish(config, run, until="report")
    elsewhere = tmp_path / "elsewhere"
    (run.data / "labels-1").rename(elsewhere)
    (run.data / "labels-1").symlink_to(elsewhere)
    tar = run.data / "labels-2" / "a.tar"
    tar.rename(tmp_path / "a.tar")
    tar.symlink_to(tmp_path / "a.tar")
    assert main(["clean", str(run.path), "--rounds"]) == 0
    said = capsys.readouterr().out
    assert (
        "labels-1: 2 files, 3.5 kB, stays: a symbolic link leads there" in said and "left alone: labels-2/a.tar" in said
    )
    assert (
        (elsewhere / "a.tar").stat().st_size == 3000 and tar.is_symlink() and not (elsewhere / "cleaned.json").exists()
    )
    run.set_aside(run.data / "labels-1")
    assert main(["clean", str(run.path), "--aside"]) == 0
    assert (elsewhere / "manifest.json").exists() and "left alone: aside/labels-1-" in capsys.readouterr().out


def test_an_aside_that_is_a_link_is_refused(campaign, tmp_path, capsys):
    _, run = campaign
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "notes.txt").write_text("mine")
    (run.path / "aside").symlink_to(tmp_path / "elsewhere")
    assert main(["clean", str(run.path), "--aside"]) == 2
    assert "aside: is a symbolic link" in capsys.readouterr().err and (tmp_path / "elsewhere" / "notes.txt").exists()


def test_foreign_files_in_rounds_and_styled_views_stay_and_a_changed_shard_too(make_campaign, capsys):
    config = load_campaign(make_campaign(styled=True))
    run = RunFolder.of(config)
    run.path.mkdir(parents=True)
    dump_config(config, run.config_path)
    finish(config, run, until="report")
    places = [
        run.path,
        run.data,
        run.data / "labels-1",
        run.data / "styled",
        run.path / "plans",
        run.path / "avoid",
        run.report,
    ]
    places += [run.phase(phase) for phase in build_graph(config)]
    planted = plant(*places)
    (run.data / "labels-1" / "ab.tar").write_bytes(bytes(501))
    assert main(["clean", str(run.path), "--styled", "--rounds"]) == 0
    assert "left alone: labels-1/ab.tar" in capsys.readouterr().out
    assert lost(planted, *places) == [] and (run.data / "labels-1" / "ab.tar").exists()
    assert not (run.data / "labels-1" / "a.tar").exists() and not (run.data / "styled" / "a.tar").exists()


def test_an_alert_of_somebody_else_stays(campaign):
    _, run = campaign
    write_json(run.path / "alert.json", {"mine": 1})
    run.forget_alert()
    assert (run.path / "alert.json").exists()
    write_json(run.path / "alert.json", {"alert": "planned no more"})
    run.forget_alert()
    assert not (run.path / "alert.json").exists()
