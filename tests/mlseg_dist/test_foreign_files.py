"""Whatever learning deletes, files of somebody else in the same folders stay as they are; what it writes over is ours."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_core.own import remove_own
from mlseg_dist import report
from mlseg_dist.augment import show
from mlseg_dist.data.cache import ShardCache, ShardFile
from mlseg_dist.events import Events, read_events
from mlseg_dist.run_folder import forget_cleaned, is_cleaned, mark_cleaned
from mlseg_dist.tracking.media import Example, drop_later, read_examples, write_examples
from mlseg_dist.tracking.own import LINKS, is_of_wandb
from mlseg_dist.training.checkpoint import Saver, newest
from mlseg_dist.training.checkpoint.leftovers import sweep, temporary_for
from shards.manifest import ShardEntry
from shards.tar import size_and_index_sha256, write_shard
from tests.mlseg_dist.tiny_run import tiny_run
from tests.mlseg_dist.training.checkpoint.saves import state_of, steps_in
from tests.planted import lost, plant

DAY_S = 90_000.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("foreign"))


def save(saver, *steps):
    for step in steps:
        saver.save(step, state_of(step), {"step": step})
        saver.wait()


def age(*folders):
    then = time.time() - DAY_S
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (then, then), follow_symlinks=False)


def test_old_checkpoints_go_and_what_somebody_put_there_stays(tmp_path):
    events, folder = Events(tmp_path), tmp_path / "checkpoints"
    saver = Saver(folder, 1, None, events.log)
    save(saver, 1)
    places = [folder, folder / "step-00000001"]
    planted = plant(*places)
    save(saver, 2, 3, 4)
    assert lost(planted, *places) == []
    assert not any((places[1] / name).exists() for name in ("META.json", "cursor.json", "model.pt", "optimizer.pt"))
    assert steps_in(folder) == [1, 4] and newest(folder, events.log, below=3) is None
    assert not [event for event in read_events(tmp_path) if event["event"] == "checkpoint-damaged"], (
        "it is no checkpoint any more"
    )
    saver.rewind(0)
    assert lost(planted, *places) == [] and steps_in(folder) == [1]


def test_a_checkpoint_that_is_written_again_keeps_what_somebody_put_beside_it(tmp_path):
    events, folder = Events(tmp_path), tmp_path / "checkpoints"
    saver = Saver(folder, 2, None, events.log)
    save(saver, 1)
    place = folder / "step-00000001"
    (place / "model.pt").write_bytes(b"damaged")
    planted = plant(place)
    save(saver, 1)
    assert lost(planted, place) == [] and newest(folder, events.log) == place
    assert not list(folder.glob(".tmp-*"))


def test_left_overs_go_by_the_exact_form_of_their_names(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    dead = folder / f".tmp-00000000-1-1-0a0b0c0d-{temporary_for(folder / 'step-00000001').name.rpartition('-step')[2]}"
    mixed = folder / ".tmp-00000000-2-1-0a0b0c0d-step-00000002"
    for path in (dead, mixed):
        path.mkdir()
        (path / "model.pt").write_bytes(b"half")
    planted = plant(folder, mixed)
    (mixed / "backup.pt").unlink()  # in a folder whose name is ours alone it would pass for a state dict
    del planted[mixed / "backup.pt"]
    age(folder)
    assert sweep(folder) == [dead.name]
    assert lost(planted, folder, mixed) == [] and not dead.exists() and not (mixed / "model.pt").exists()


def test_a_step_folder_that_is_a_link_stays(tmp_path):
    events, folder, elsewhere = Events(tmp_path), tmp_path / "checkpoints", tmp_path / "elsewhere"
    save(Saver(folder, 9, None, events.log), 1)
    (folder / "step-00000001").rename(elsewhere)
    (folder / "step-00000001").symlink_to(elsewhere)
    save(Saver(folder, 1, None, events.log), 2, 3)
    assert (folder / "step-00000001").is_symlink() and (elsewhere / "META.json").exists() and steps_in(folder) == [1, 3]


def test_the_cache_makes_room_with_its_own_copies_alone(tmp_path):
    shards, cache = tmp_path / "shards", tmp_path / "cache"
    shards.mkdir()
    sources = []
    for number in range(3):
        path = shards / f"s{number}.tar"
        write_shard(path, [(f"s+{number}", {"bin": np.random.default_rng(number).bytes(100_000)})])
        size, index = size_and_index_sha256(path)
        facts = {"sha256": sha256_file(path), "samples": 1, "slide": "s", "split": "train"}
        sources.append(ShardFile(shards, ShardEntry(name=path.name, bytes=size, index_sha256=index, **facts)))
    planted = plant(cache)
    planted[cache / ".lock"] = b"mine"
    (cache / ".lock").write_bytes(b"mine")
    (cache / f"{sources[0].cached_name[:16]}-link.tar").symlink_to(cache / "foreign.tar")
    age(cache)
    for source in sources:  # each copy has to make room for the next
        one = ShardCache(cache, 150_000, lambda: None)
        one.want(0, [source], [])
        end = time.monotonic() + 20
        while one.copy_of(source) is None and time.monotonic() < end:
            time.sleep(0.02)
        one.close()
        assert one.copy_of(source) is not None
        age(cache)
    assert lost(planted, cache) == [] and not (cache / sources[0].cached_name).exists()


def test_examples_of_later_steps_go_and_those_of_one_step_are_replaced(tmp_path):
    example = Example("k", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8))
    for step in (1, 2):
        write_examples(tmp_path, step, [example, example])
    places = [tmp_path / "media", tmp_path / "media" / "step-1", tmp_path / "media" / "step-2"]
    planted = plant(*places)
    write_examples(tmp_path, 1, [example])
    assert len(read_examples(tmp_path, 1)) == 1 and not (places[1] / "1-view.png").exists()
    drop_later(tmp_path, 1)
    assert lost(planted, *places) == []
    assert (
        read_examples(tmp_path, 2) == [] and not list(places[2].glob("*.png")) and len(read_examples(tmp_path, 1)) == 1
    )


def test_of_an_older_offline_run_only_what_wandb_wrote_goes(tmp_path):
    wandb = pytest.importorskip("wandb")
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_machine_info=True)
    logged = wandb.init(dir=str(tmp_path), mode="offline", id="one", settings=settings, reinit="create_new")
    logged.log({"a": 1.0, "p": wandb.Image(np.zeros((4, 4, 3), np.uint8))}, step=0)
    folder = Path(logged.dir).parent
    logged.finish()
    planted = plant(folder, folder / "files")
    stay = remove_own(folder, is_of_wandb, LINKS)
    assert lost(planted, folder, folder / "files") == []
    assert all(Path(name).parts[0] != "logs" and not name.endswith(".wandb") for name in stay)
    assert not list(folder.rglob("*.wandb")) and not list((folder / "files").rglob("media"))


def test_a_report_that_is_written_twice_leaves_the_rest_of_its_folder_alone(run):
    report.write(run.config, run.path, run.path / "phases" / "10-report")
    planted = plant(run.path / "report")
    report.write(run.config, run.path, run.path / "phases" / "10-report")
    assert lost(planted, run.path / "report") == []


@pytest.mark.parametrize("name", ["index.html", "metrics.json", "checks.json"])
def test_a_report_does_not_take_the_place_of_somebodys_file(run, name):
    report.write(run.config, run.path, run.path / "phases" / "10-report")
    path = run.path / "report" / name
    ours = path.read_text()
    path.write_text('{"mine": 1}')
    with pytest.raises(UserError, match="would be overwritten"):
        report.write(run.config, run.path, run.path / "phases" / "10-report")
    assert path.read_text() == '{"mine": 1}'
    path.write_text(ours)


def test_the_mark_of_a_cleaned_folder_is_ours(tmp_path):
    (tmp_path / "cleaned.json").write_text('{"mine": 1}')
    forget_cleaned(tmp_path)
    assert not is_cleaned(tmp_path) and (tmp_path / "cleaned.json").read_text() == '{"mine": 1}'
    with pytest.raises(UserError, match="would be overwritten"):
        mark_cleaned(tmp_path, 1, 1)
    (tmp_path / "cleaned.json").unlink()
    mark_cleaned(tmp_path, 1, 1)
    assert is_cleaned(tmp_path)
    forget_cleaned(tmp_path)
    assert not is_cleaned(tmp_path)


@pytest.mark.parametrize("name", ["index.html", "spread.png", "op-rotate.png"])
def test_pictures_of_augmentation_do_not_take_the_place_of_somebodys_files(run, tmp_path, name):
    (tmp_path / name).write_text("<!doctype html><title>mine</title>")
    with pytest.raises(UserError, match="would be overwritten"):
        show.write(run.config, run.path / "data" / "shards", tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]
