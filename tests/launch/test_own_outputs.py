"""Commands write over what they wrote before, never over somebody's file: one clear line, exit status 2, before any work."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from launch.cli import main
from launch.commands.evaluate import refuse_out
from launch.config import load_campaign
from launch.preflight.files import probe
from launch.rehearsal import rehearsal_of
from launch.run_folder import RunFolder
from mlseg_core.config import dump_config
from mlseg_core.errors import UserError
from mlseg_core.files import write_json
from mlseg_dist.evaluation.drawn import png
from tests.launch.conftest import tiny_campaign
from tests.launch.preflight.test_preflight import on_slides
from tests.planted import lost, plant
from tests.shards.slides_for_tests import shards_config, write_corpus
from tests.shards.test_tiles import write_tiles

PHANTOM = {"size_um": 2000, "mpp": 4, "train": 1, "val": 1, "test": 0, "dev_unseen": 0, "final_unseen": 0}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(words: list[str], folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 2 and one line that names the file, and changes nothing."""
    before = snapshot(folder)
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("mlseg: error:") and name in said
    assert snapshot(folder) == before


@pytest.fixture(params=["phantom", "import"])
def slides(request, tmp_path):
    """(words of the command, its folder, a slide's name); nothing is drawn yet."""
    out, config = tmp_path / "slides", tmp_path / "config.yaml"
    out.mkdir()
    if request.param == "phantom":
        config.write_text(yaml.safe_dump(PHANTOM))
        from shards import phantom

        name = phantom.units(phantom.PhantomConfig(**PHANTOM))[0].name
        return ["shards", "phantom", str(config), "--out", str(out)], out, name
    tiles = write_tiles(tmp_path / "tiles", patients=3)
    config.write_text(yaml.safe_dump(tiles.model_dump(mode="json")))
    return ["shards", "import", str(tmp_path / "tiles"), str(config), "--out", str(out)], out, "t0"


@pytest.mark.parametrize("name", ["slides.csv", "{slide}.tif", "{slide}.geojson"])
def test_slides_do_not_take_the_place_of_somebodys_files(slides, capsys, name):
    words, out, slide = slides
    name = name.format(slide=slide)
    (out / name).write_text("mine")
    refused(words, out, name, capsys)
    (out / name).unlink()
    (out / "notes.txt").write_text("mine")
    assert main(words) == 0 and (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["slides.csv", "{slide}.geojson"])
def test_corrections_by_hand_are_not_lost_when_slides_are_made_again(slides, capsys, name):
    words, out, slide = slides
    assert main(words) == 0 and main(words) == 0, "what is unchanged is simply done"
    path = out / name.format(slide=slide)
    path.write_text(path.read_text() + "\n")
    refused(words, out, path.name, capsys)


def test_slides_of_other_settings_are_made_anew_unless_somebody_changed_them(slides, tmp_path, capsys):
    words, out, slide = slides
    assert main(words) == 0
    before = (out / f"{slide}.tif").read_bytes()
    assert main([*words, "mpp=3"]) == 0
    assert (out / f"{slide}.tif").read_bytes() != before, "records show that they were ours, and as we left them"
    assert main(words) == 0 and (out / f"{slide}.tif").read_bytes() == before
    annotation = out / f"{slide}.geojson"
    annotation.write_text(annotation.read_text().replace('"Feature"', '"feature"', 1))  # as long as before
    refused([*words, "mpp=3"], out, f"{slide}.geojson: was changed since mlseg wrote it", capsys)


def test_a_table_of_an_earlier_version_is_ours(tmp_path, capsys):
    out, config = tmp_path / "slides", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(write_tiles(tmp_path / "tiles", patients=3).model_dump(mode="json")))
    words = ["shards", "import", str(tmp_path / "tiles"), str(config), "--out", str(out)]
    assert main(words) == 0
    table = out / "slides.csv"
    header, *rows = table.read_text().splitlines()
    (out / ".mlseg-written.json").unlink()
    table.write_text("\n".join([f"{header},mpp,score", *(f"{row},," for row in rows)]) + "\n")
    assert main(words) == 0
    table.write_text(table.read_text().replace("train", "test", 1))
    (out / ".mlseg-written.json").unlink()
    refused(words, out, "slides.csv", capsys)


def test_slides_that_a_killed_build_left_without_a_record_are_ours(slides):
    words, out, slide = slides
    assert main(words) == 0
    whole = snapshot(out)
    (out / "done" / f"{slide}.json").unlink()
    (out / "slides.csv").unlink()
    assert main(words) == 0
    assert {name for name in whole if not name.endswith("0.json")} <= set(snapshot(out))


def test_a_page_of_shards_replaces_our_pages_alone(tmp_path, capsys):
    table, config, out = write_corpus(tmp_path / "slides"), tmp_path / "shards.yaml", tmp_path / "shards"
    config.write_text(yaml.safe_dump(shards_config(tissue_stride_um=192.0).model_dump(mode="json")))
    assert main(["shards", "build", str(config), "--slides", str(table), "--out", str(out)]) == 0
    (out / "index.html").write_text("<!doctype html><title>my page</title>")
    refused(["shards", "show", str(out)], out, "index.html", capsys)
    refused(["shards", "show", str(out), "--out", str(table)], tmp_path, "slides.csv", capsys)
    (out / "index.html").unlink()
    for _ in range(2):
        assert main(["shards", "show", str(out)]) == 0


def test_a_picture_of_the_graph_replaces_our_pictures_alone(config_path, tmp_path, capsys):
    for suffix in (".png", ".svg", ".pdf"):
        out = tmp_path / f"graph{suffix}"
        out.write_bytes(b"mine")
        refused(["plan", str(config_path), "--graph", str(out)], tmp_path, out.name, capsys)
        out.unlink()
        for _ in range(2):
            assert main(["plan", str(config_path), "--graph", str(out)]) == 0


def test_a_rehearsals_table_replaces_its_own_alone(tmp_path):
    config = load_campaign(on_slides(tmp_path))
    write_corpus(tmp_path / "slides", slides=6)
    table = config.runs / "tiny-rehearsal.slides.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("slide,patient\nmine.tif,P1\n")
    with pytest.raises(UserError, match=r"slides\.csv: is not a file that mlseg wrote here"):
        rehearsal_of(config)
    assert table.read_text() == "slide,patient\nmine.tif,P1\n"
    run = RunFolder(config.runs / "tiny-rehearsal")
    run.path.mkdir()
    dump_config(config.model_copy(update={"name": "tiny-rehearsal", "slides": table}), run.config_path)
    assert rehearsal_of(config).slides == table.absolute(), "its run folder names it"
    run.config_path.unlink()
    rehearsal_of(config, share=0.9)  # what we wrote, of other slides


@pytest.mark.parametrize("name", ["evaluation.json", "pictures/val-00.png", "pictures/worst-val-01.png"])
def test_scores_do_not_take_the_place_of_somebodys_files(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"mine": 1}')
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="would be overwritten"):
        refuse_out(tmp_path, run.path, ["val"])
    path.unlink()
    refuse_out(tmp_path, run.path, ["val"])
    (tmp_path / "pictures").mkdir(exist_ok=True)
    (tmp_path / "pictures" / "val-00.png").write_bytes(png(Image.new("RGB", (2, 2))))
    write_json(tmp_path / "evaluation.json", {"version": 1, "classes": [], "steps": [], "corpus_sha256": ""})
    refuse_out(tmp_path, run.path, ["val"])
    (run.path / "phases").mkdir(parents=True)
    (tmp_path / "link").symlink_to(run.path / "phases")
    names = (
        "phases/05-evaluate",
        "data/evaluation",
        "evaluations/counts",
        "report",
        "private",
        ".",
        "x/../phases",
        "../link",
    )
    for taken in names:
        with pytest.raises(UserError, match="the campaign's own files"):
            refuse_out(run.path / taken, run.path, ["val"])


def test_preflight_leaves_the_folders_that_it_tries_as_they_were(tmp_path):
    folder = tmp_path / "runs"
    planted = plant(folder)
    names = sorted(path.name for path in folder.iterdir())
    assert probe("write", folder / "new").mark == "ok"
    assert lost(planted, folder) == [] and sorted(path.name for path in folder.iterdir()) == names


def test_frozen_code_and_set_aside_leave_a_run_folders_other_files_alone(tmp_path):
    config = load_campaign(tiny_campaign(tmp_path))
    run = RunFolder.of(config)
    planted = plant(run.path)
    for _ in range(2):
        run.freeze_code()
        run.set_aside(run.code)
    assert lost(planted, run.path) == []
    assert json.loads(next((run.path / "aside").glob("code-*/.mlseg-files.json")).read_text())["files"]


def test_the_help_says_what_prune_deletes(capsys):
    with pytest.raises(SystemExit):
        main(["shards", "regenerate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "delete the files of earlier builds, and nothing else; with --dry-run: list them" in said
