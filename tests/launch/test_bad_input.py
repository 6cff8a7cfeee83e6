"""Bad slides, tables and annotations of a campaign: one line that names file, field and fix, status 2, nothing written."""

import json
from pathlib import Path

import pytest
import yaml

from launch.campaign import prepare
from launch.cli import main
from launch.config import load_campaign
from mlseg_dist.training.sharing import shared_by
from shards import cutting
from tests.launch.conftest import tiny_campaign
from tests.shards.slides_for_tests import square_feature, tissue_slide, write_annotation, write_corpus, write_slide

ROOT = Path(__file__).parents[2]


def campaign_on(tmp_path: Path, slides: Path) -> Path:
    path = tiny_campaign(tmp_path)
    raw = yaml.safe_load(path.read_text())
    del raw["phantom"]
    path.write_text(yaml.safe_dump({**raw, "slides": str(slides)}))
    return path


def leak(folder: Path) -> None:
    table = folder / "slides.csv"
    table.write_text(table.read_text().replace("P1", "P0"))


def same_slide(folder: Path) -> None:
    (folder / "s2.tif").write_bytes((folder / "s0.tif").read_bytes())


def same_patient(folder: Path) -> None:
    table = folder / "slides.csv"
    table.write_text(table.read_text().replace("P2", "p0"))


def unmapped(folder: Path) -> None:
    write_annotation(folder / "s1.geojson", square_feature("Myoepithelium", 0, 0, 99, 99))


def no_mpp(folder: Path) -> None:
    write_slide(folder / "s2.tif", tissue_slide(2), mpp=None)


def gone(folder: Path) -> None:
    (folder / "s0.tif").unlink()


def not_a_slide(folder: Path) -> None:
    (folder / "s0.tif").write_text("hello")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (leak, ["slides.csv", "patient 'P0'", "train (line 2) and val (line 3)", "one split"]),
        (same_slide, ["slides.csv", "'s0.tif' (line 2, train)", "'s2.tif' (line 4, test)", "same content"]),
        (same_patient, ["slides.csv", "'P0' (line 2, train)", "'p0' (line 4, test)", "written"]),
        (unmapped, ["s1.geojson", "Myoepithelium", "annotation_classes"]),
        (no_mpp, ["s2.tif", "µm/px", "column mpp"]),
        (gone, ["slides.csv line 2", "s0.tif", "does not exist"]),
        (not_a_slide, ["s0.tif", "cannot be opened"]),
    ],
)
def test_one_line_status_2_and_nothing_written(tmp_path, capsys, spoil, words):
    write_corpus(tmp_path / "slides")
    spoil(tmp_path / "slides")
    config = campaign_on(tmp_path, tmp_path / "slides" / "slides.csv")
    before = sorted(p for p in tmp_path.rglob("*"))
    assert main(["run", str(config)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("mlseg: error: ")
    for word in words:
        assert word in err
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_a_start_remembers_the_slides_for_its_workers(tmp_path):
    write_corpus(tmp_path / "slides")
    config = load_campaign(campaign_on(tmp_path, tmp_path / "slides" / "slides.csv"), [])
    run = prepare(config).run
    known = json.loads((run.data / "shards/slide-identities.json").read_text())["slides"]
    assert sorted(known) == ["s0", "s1", "s2"] and all(slide["identity"].startswith("w2:") for slide in known.values())
    assert cutting.plan_cut(config.shards, config.slides, run.data / "shards").known["s1"].as_json() == known["s1"]


def test_slides_come_from_one_place_only(tmp_path, capsys):
    config = tiny_campaign(tmp_path, slides="slides.csv")
    assert main(["run", str(config)]) == 2
    assert "exactly one of phantom, tiles, slides" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.patch_px=50", "Nearest sizes that fit: 32 or 64"),
        ("shards.store_px=100", "multiple of 32"),
        ("train.patch_px=256", "larger than shards.store_px"),
        ("steps.base.label.threshold=0.33", "multiple of 0.05"),
        ("shards.low_mpp=6", "must be 2, 4, 8"),
        ("training_classes.tumour=3", "training_classes.tumour"),
        ("steps.master-1.start=teacher", "their models differ"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_runs(tmp_path, capsys, override, said):
    config = tiny_campaign(tmp_path)
    assert main(["run", str(config), override]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("phantom.train=1", "but one scanner"),
        ("style.pairs=[[Philips, Motic]]", "no scanner 'Motic' in the train split (gan_style of master-1)"),
        ("style.crop_px=112", "at most shards.store_px"),
    ],
)
def test_styles_that_the_slides_do_not_have_are_refused_before_anything_runs(tmp_path, capsys, override, said):
    config = tiny_campaign(tmp_path, styled=True)
    assert main(["run", str(config), override]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["demo", "glas", "paper", "paper-8", "paper-64", "recommended"])
def test_the_configs_that_we_ship_are_valid(name):
    config = load_campaign(ROOT / "configs" / f"{name}.yaml")
    steps = [step for step in config.steps if not step.control]
    assert [step.name for step in steps] == ["base", *(f"master-{k}" for k in range(1, 6))]
    assert [step.label.threshold for step in steps] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert [step.weights for step in steps] == ["static", *["dynamic"] * 4, "static"]
    shared_by(config.train, config.loss, config.cluster.job("train").tasks)
    if name.startswith("paper"):
        assert [step.epochs for step in config.steps] == [20, 5, 5, 5, 5, 10]
        assert [step.lr for step in config.steps] == [0.01, 0.005, 0.001, 0.0007, 0.0005, 0.0001]
        assert [step.start for step in config.steps] == ["fresh", "fresh", *["teacher"] * 4]
        models = [step.model for step in config.steps]
        assert [(m.kind, m.encoder.name, m.decoder.kind, m.decoder.stride) for m in models] == [
            ("unet", "b0", "plain", 1),
            *[("munet", "b4", "plain", 1)] * 5,
        ]
        assert {(m.merge, m.hooks) for m in models[1:]} == {("compress", (16,))}
        samples = {"paper": 16, "paper-8": 32, "paper-64": 256}
        assert (config.train.samples_per_step, config.loss.group) == (samples[name], "step")
        assert (config.train.engine, config.train.augment_on, config.train.patch_px) == ("deepspeed", "gpu", 512)
        assert (config.shards.high_mpp, config.shards.low_mpp, config.evaluate.threshold) == (0.5, 2.0, 0.45)


@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_the_papers_batch_is_shared_by_one_two_or_four_gpus(gpus):
    config = load_campaign(ROOT / "configs/paper.yaml", [f"cluster.train.tasks_per_node={gpus}"])
    shared = shared_by(config.train, config.loss, config.cluster.job("train").tasks)
    assert shared.samples_per_micro_batch * gpus == 16 and shared.micro_batches_per_step == gpus
