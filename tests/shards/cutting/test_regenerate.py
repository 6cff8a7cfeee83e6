"""Only what a change concerns is cut again, and it says which and why; `mlseg shards build` killed anywhere continues."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from launch.cli import main
from mlseg_core.files import sha256_file
from shards import cutting
from tests.shards.slides_for_tests import (
    ROOT,
    shards_config,
    square_feature,
    tissue_slide,
    write_annotation,
    write_corpus,
    write_slide,
)

SETTINGS = {"tissue_stride_um": 192.0, "samples_per_shard": 25}


@pytest.fixture
def corpus(tmp_path):
    """Slides, a config file, and the command's options; built once."""
    table = write_corpus(tmp_path / "slides")
    write_annotation(tmp_path / "slides/s2.geojson", square_feature("Vessel", 200, 200, 600, 600))
    write_annotation(
        tmp_path / "slides/s0.geojson",
        square_feature("7", 100, 100, 420, 700),
        square_feature("Tumor", 450, 450, 650, 650),
    )
    config = tmp_path / "shards.yaml"
    raw = shards_config(**SETTINGS).model_dump(mode="json")
    raw["annotation_classes"]["7"], raw["mask_classes"] = "stroma", {"7": "DCIS"}
    config.write_text(yaml.safe_dump(raw))
    words = [str(config), "--slides", str(table), "--out", str(tmp_path / "shards")]
    assert main(["shards", "build", *words]) == 0
    return tmp_path, words


def tars(folder):
    return {path.name: sha256_file(path) for path in (folder / "shards").glob("*.tar")}


def edit(path, **changes):
    raw = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(raw))


def annotation(folder):
    write_annotation(folder / "slides/s1.geojson", square_feature("Tumor", 200, 200, 600, 600))


def slide(folder):
    write_slide(folder / "slides/s1.tif", tissue_slide(9))


def row(folder):
    table = folder / "slides/slides.csv"
    table.write_text(table.read_text().replace("P1,ER", "P1,PR"))


def class_map(folder):
    edit(folder / "shards.yaml", annotation_classes={"Vessel": "duct"})


def name_like_a_mask_value(folder):
    """Built when the class was another one, and its name is a value of masks as well."""
    edit(folder / "shards.yaml", annotation_classes={"7": "duct"})


def unused_class(folder):
    edit(folder / "shards.yaml", annotation_classes={"Nerve": "normal"})


def cap(folder):
    edit(folder / "shards.yaml", class_caps={"vessel": 3})


def quality(folder):
    edit(folder / "shards.yaml", jpeg_quality=80)


def lost_tar(folder):
    next((folder / "shards").glob("s0-*.tar")).unlink()


@pytest.mark.parametrize(
    ("change", "cut", "why"),
    [
        (annotation, ["s1"], "its annotation changed"),
        (slide, ["s1"], "the slide file changed"),
        (row, ["s1"], "its row in the slide table changed"),
        (class_map, ["s2"], "the class map changed for classes that it uses"),
        (name_like_a_mask_value, ["s0"], "the class map changed for classes that it uses"),
        (cap, ["s2"], "the caps of classes that it uses changed"),
        (unused_class, [], ""),
        (quality, ["s0", "s1", "s2"], "resolution, size or quality of the views changed"),
        (lost_tar, ["s0"], "a file of it is gone"),
    ],
)
def test_only_what_a_change_concerns_is_cut_again(corpus, capsys, change, cut, why):
    folder, words = corpus
    before = tars(folder)
    change(folder)
    capsys.readouterr()
    still = tars(folder)
    assert main(["shards", "regenerate", *words, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [entry["slide"] for entry in said if entry["action"] == "cut"] == cut
    assert all(why in entry["why"] for entry in said if entry["action"] == "cut")
    assert tars(folder) == still, "a dry run writes nothing"
    assert main(["shards", "regenerate", *words, "--prune"]) == 0
    after = tars(folder)
    for name in set(before) | set(after):
        concerned = name.split("-")[0] in cut
        assert (before.get(name) == after.get(name)) is (not concerned or change is lost_tar), name
    assert main(["shards", "verify", str(folder / "shards")]) == 0
    assert "0 slides to cut" in run_dry(words, capsys)


def run_dry(words, capsys):
    capsys.readouterr()
    assert main(["shards", "regenerate", *words, "--dry-run"]) == 0
    return capsys.readouterr().out


def test_a_slide_that_left_the_table_is_dropped(corpus, capsys):
    folder, words = corpus
    table = folder / "slides/slides.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if not line.startswith("s1")))
    assert "drop  s1  it is not in the slide table" in run_dry(words, capsys)
    assert main(["shards", "regenerate", *words, "--prune"]) == 0
    assert not list((folder / "shards").glob("s1-*"))
    assert main(["shards", "verify", str(folder / "shards")]) == 0


def test_killed_anywhere_the_build_continues_to_the_same_bytes(tmp_path):
    """The whole process group is killed with -9 again and again, each time after a longer part of a whole build."""
    table = write_corpus(tmp_path / "slides", slides=9)
    config = tmp_path / "shards.yaml"
    config.write_text(yaml.safe_dump(shards_config(**SETTINGS, stride_um=48.0).model_dump(mode="json")))
    words = [
        sys.executable,
        "-m",
        "launch.cli",
        "shards",
        "build",
        str(config),
        "--slides",
        str(table),
        "--workers",
        "2",
    ]
    begun = time.monotonic()
    subprocess.run([*words, "--out", str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    whole_s = time.monotonic() - begun
    kills = 0
    for attempt in range(30):
        process = subprocess.Popen(
            [*words, "--out", str(tmp_path / "killed")], cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL
        )
        try:
            process.wait(whole_s * (0.3 + 0.1 * attempt))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(0.2)
    assert process.returncode == 0 and kills >= 2
    print(f"killed {kills} times")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def contents(folder):
    left_out = {"progress", "failed"}
    files = [
        path for path in folder.rglob("*") if path.is_file() and not left_out & set(path.relative_to(folder).parts)
    ]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def test_memory_url_as_destination(tmp_path):
    import fsspec

    from mlseg_core.exactly_once.run import map_in_processes

    table = write_corpus(tmp_path / "slides")
    config = shards_config(**SETTINGS)
    todo = cutting.units(config, table)
    for out in ("memory://corpus", tmp_path / "folder"):
        map_in_processes(todo, cutting.cut, out, 1, describe=cutting.describe)
        cutting.write_manifest(config, table, todo, out)
    store = fsspec.filesystem("memory")
    for path in (tmp_path / "folder").glob("*.*"):
        assert store.cat_file(f"/corpus/{path.name}") == path.read_bytes()
