"""A corpus that lacks a training class is refused in one line: by its config, its annotations, or as soon as it is cut."""

import time
from pathlib import Path

import pytest
import yaml

from launch.campaign import prepare
from launch.checks import check_corpus
from launch.cli import main
from launch.completion import publish_done
from launch.config import CampaignConfig, load_campaign
from launch.graph import Phase, build_graph
from launch.phases import KINDS
from launch.run_folder import RunFolder, find_run
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from shards.manifest import Manifest, ShardEntry
from tests.launch.conftest import tiny_campaign
from tests.shards.slides_for_tests import square_feature, write_annotation, write_corpus

CLASSES = Path(__file__).parents[2] / "configs" / "classes" / "breast.yaml"


def corpus(train: dict[str, int], val: dict[str, int]) -> Manifest:
    """seeds of the train split, px of the validation split."""
    facts = {"bytes": 1, "sha256": "", "index_sha256": "", "samples": 1, "slide": "s"}
    shards = (
        ShardEntry(name="a.tar", split="train", seeds=train, pixels=train, **facts),
        ShardEntry(name="b.tar", split="val", seeds=val, pixels=val, **facts),
    )
    views = {"high_mpp": 2.0, "low_mpp": 8.0, "store_px": 96.0}
    given = {"members": (), "classes": (), "totals": {}, "fingerprint": ""}
    return Manifest(kind="corpus", views=views, shards=shards, **given)


MANY = {"stroma": 50, "tumour": 50, "dcis": 50}


def test_what_the_train_split_lacks_is_named_with_what_is_there(config: CampaignConfig):
    assert check_corpus(config, corpus(MANY, MANY), Path("m.json")) == []
    with pytest.raises(UserError) as refused:
        check_corpus(config, corpus({"stroma": 1200, "dcis": 7}, MANY), Path("m.json"))
    said = "m.json: no pair of the train split is annotated as class tumour; there are 1,200 of background, 7 of others"
    assert str(refused.value).startswith(f"{said} (fine classes tumour). Annotate some on slides of the train split")
    with pytest.raises(UserError, match="class background; there are none at all"):
        check_corpus(config, corpus({}, MANY), Path("m.json"))


def test_few_pairs_and_a_validation_split_without_a_class_are_warnings(config: CampaignConfig):
    """Two quads a step draw four tumour pairs."""
    (few,) = check_corpus(config, corpus({**MANY, "tumour": 3}, MANY), Path("m.json"))
    assert "3 pairs of class tumour, and every training step draws 4" in few
    (lacking,) = check_corpus(config, corpus(MANY, {"stroma": 9, "dcis": 9}), Path("m.json"))
    assert "no labelled pixel of class tumour: teachers are chosen by the mean IoU of the other classes" in lacking
    (blind,) = check_corpus(config, corpus(MANY, {}), Path("m.json"))
    assert "no labelled pixel: each step's teacher is that of its first validation" in blind


def remapped(given: dict[str, int], **changes: int) -> str:
    return "training_classes=" + yaml.safe_dump({**given, **changes}, default_flow_style=True, width=10**6).strip()


NOTHING_TUMOUR = remapped(yaml.safe_load(CLASSES.read_text())["training_classes"], tumour=2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (NOTHING_TUMOUR, "training_classes: no fine class is mapped to tumour (1)"),
        ("shards.annotation_classes={Stroma: stroma, DCIS: dcis}", "no annotation is mapped to a fine class of tumour"),
        ("shards.class_caps={tumour: 0}", "shards.class_caps: every fine class of tumour is capped at 0 pairs a slide"),
    ],
    ids=["training_classes", "annotation_classes", "class_caps"],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_maps_that_give_no_pair_of_a_class_are_refused_before_anything_runs(tmp_path, capsys, command, override, said):
    config = tiny_campaign(tmp_path)
    assert main([command, str(config), override]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_mask_value_is_what_maps_a_class_of_tiles(tmp_path, capsys):
    """`annotation_classes` may know every tissue; tiles have what their values are called."""
    tiles = {"folder": str(tmp_path), "images": "i/{name}.png", "masks": "m/{name}.png", "mpp": 2.0}
    config = tiny_campaign(tmp_path, phantom=None, tiles={**tiles, "classes": {"0": "Stroma", "1": "Tumor"}})
    assert main(["plan", str(config)]) == 2
    assert "fine class of others (acini, artefact," in (said := capsys.readouterr().err)
    assert "Map a value of tiles.classes to one of them" in said


def campaign_on_slides(folder: Path, *of_the_train_slide: dict) -> Path:
    cluster = {"executor": "local", "default": {"workers": 1}}
    path = tiny_campaign(folder, phantom=None, slides=str(write_corpus(folder / "slides")), cluster=cluster)
    write_annotation(folder / "slides/s0.geojson", *of_the_train_slide)
    return path


STROMA, TUMOUR = square_feature("Stroma", 100, 100, 420, 700), square_feature("Tumor", 150, 150, 350, 350)
TINY_DCIS, DCIS = square_feature("DCIS", 450, 450, 454, 454), square_feature("DCIS", 450, 450, 650, 650)


def test_annotations_that_lack_a_class_are_refused_before_anything_is_cut(tmp_path, capsys):
    config = campaign_on_slides(tmp_path, STROMA, TUMOUR)
    assert main(["run", str(config)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "slides.csv: no slide of the train split has an annotation of class others (fine classes acini, " in said
    assert not (tmp_path / "runs").exists()


def test_a_corpus_that_lacks_a_class_ends_with_its_shards_and_goes_on_once_the_class_is_there(tmp_path, capsys):
    """A region so small that no point of the grid meets it."""
    config = campaign_on_slides(tmp_path, STROMA, TUMOUR, TINY_DCIS)
    assert main(["run", str(config)]) == 2
    said = capsys.readouterr().err
    lacking = "manifest.json: no pair of the train split is annotated as class others; there are "
    assert "phase shards: " in said and lacking in said and said.count("\n") == 1, said
    run = find_run(config)
    assert not list(run.path.glob("phases/*-base*")), "no training step began"
    assert main(["plan", str(config)]) == 2
    assert lacking in (said := capsys.readouterr().err) and said.count("\n") == 1

    write_annotation(tmp_path / "slides/s0.geojson", STROMA, TUMOUR, DCIS)
    shards = build_graph(load_campaign(config))[0]
    prepare(load_campaign(config))  # as `run` does: it is not refused for what was cut before
    finish_shards(load_campaign(config), run, shards)
    assert main(["plan", str(config)]) == 0
    warned = capsys.readouterr().err
    assert "every training step draws" in warned, "the one warning: two or three pairs of DCIS"

    # A run whose shards are done, under maps that they hold nothing for; nothing of it is changed.
    classes = remapped(load_campaign(config).training_classes, dcis=255)
    before = run.config_path.read_bytes()
    for command in ("plan", "run"):
        assert main([command, str(config), classes]) == 2
        assert lacking in capsys.readouterr().err
    assert run.config_path.read_bytes() == before


def finish_shards(config: CampaignConfig, run: RunFolder, shards: Phase) -> None:
    """As the shards job does."""
    map_work = KINDS["shards"].map_work(config, run, shards)
    folder = KINDS["shards"].folder(run, shards)
    assert not run_units(map_work.units, map_work.work, folder, describe=map_work.describe)
    map_work.publish()
    assert publish_done(config, shards, run, {}, time.time(), "1-0")
