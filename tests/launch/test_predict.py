"""`mlseg predict`, `bundle` and `lineage` as a person types them: mistakes at once, exit status, what is printed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from launch.cli import main
from shards.manifest import read_manifest
from shards.tar import ShardReader
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.tiny_run import MPP, plain_config
from tests.shards.slides_for_tests import shards_config, write_slide

SECRET = "module load s3cret-t0ken"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return lively_run(tmp_path_factory.mktemp("predict"))


@pytest.fixture(scope="module")
def run(made) -> Path:
    """A run folder with the teachers of both steps, and a campaign.yaml whose setup lines are nobody's business."""
    raw = plain_config()
    raw |= {
        "name": made.path.name,
        "runs": str(made.path.parent),
        "slides": str(made.path.parent / "slides" / "slides.csv"),
        "shards": shards_config().model_dump(mode="json"),
        "cluster": {"executor": "local", "default": {"setup": [SECRET]}},
    }
    (made.path / "campaign.yaml").write_text(yaml.safe_dump(raw))
    return made.path


def mlseg(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.svs"], "no such slide"),
        (["nothing-*.svs"], "no file matches"),
        (["{slides}"], "holds no .dcm files"),
        (["{slides}/b.tif", "--step", "nope"], "no step 'nope'. There are: base, master-1."),
        (["{slides}/b.tif"], "the slide does not say its µm/px"),
        (["{slides}/b.tif", "--mpp", "-1"], "--mpp"),
        (["{slides}/b.tif", "--mpp", "9"], "has 9 µm/px and the network wants 2"),
        (["{slides}/b.tif", "--mpp-override"], "--mpp-override without --mpp"),
        (["{slides}/slides.csv", "--mpp", "2"], "--mpp with a slide table"),
        (["{slides}/b.tif", "--workers", "0"], "--workers"),
        (["{slides}/b.tif", "--no-wait"], "--no-wait without --cluster"),
        (["{slides}/b.tif", "--cluster", "nowhere"], "no cluster 'nowhere'"),
        (["{slides}/b.tif", "--mpp", "2", "--out", "{run}/data/there"], "the campaign's own files lie there"),
        (["{slides}/b.tif", "--mpp", "2", "--out", "{slides}/b.tif/there"], "is a file, not a folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(run, words, said, capsys):
    slides = run.parent / "slides"
    assert mlseg("predict", run, *(word.format(run=run, slides=slides) for word in words)) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1, err
    assert not (run / "predictions").exists() and not (run / "data" / "there").exists()


def test_a_refusal_needs_no_torch(run):
    code = (
        "import sys, time; begun = time.process_time(); from launch.cli import main; s = main(sys.argv[1:]);"
        "print(s, 'torch' in sys.modules, time.process_time() - begun < 2)"
    )
    words = [sys.executable, "-c", code, "predict", str(run), "none.svs"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.stdout == "2 False True\n", ended.stdout + ended.stderr


def test_a_table_a_glob_and_a_bad_slide(run, tmp_path, capsys):
    """The bad slide is in quarantine and the status 1; without it nothing is done again, and the status is 0."""
    write_slide(tmp_path / "dark.tif", np.full((512, 512, 3), 5, np.uint8), mpp=MPP)
    table, out = run.parent / "slides" / "slides.csv", tmp_path / "out"
    assert mlseg("predict", run, table, tmp_path / "da*.tif", "--out", out, "--stain", "ER") == 1
    said = capsys.readouterr().out
    assert f"mlseg: {tmp_path / 'dark.tif'}: quarantined. inverted: The background is dark" in said
    assert "The network never saw stain 'H&E', only ER." in said
    folders = sorted(path.parent for path in out.glob("*/summary.json"))
    assert len(folders) == 4 and all((folder / "classes.ome.tif").exists() for folder in folders)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/summary.json")}
    begun = time.time()
    assert mlseg("predict", run, table, "--out", out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/summary.json")} == before, time.time() - begun
    assert not (out / "quarantine.csv").exists()


def test_a_site_without_slurm_gives_its_workers(run, tmp_path, capsys):
    site = tmp_path / "here.yaml"
    site.write_text("cluster: {executor: local, predict: {workers: 2}}\n")
    table, out = run.parent / "slides" / "slides.csv", tmp_path / "out"
    assert mlseg("predict", run, table, "--out", out, "--cluster", site) == 0
    assert len(list(out.glob("progress/[0-9].json"))) == 2 and not (out / "cluster").exists()


def test_a_bundle_predicts_where_there_is_no_run_and_keeps_secrets(run, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the extra `bundle` is not installed")
    pytest.importorskip("safetensors", reason="the extra `bundle` is not installed")
    bundle = tmp_path / "bundle"
    assert mlseg("bundle", run, "--out", bundle, "--json") == 0
    assert json.loads(capsys.readouterr().out)["difference"] <= 1e-4
    assert mlseg("bundle", run, "--out", bundle) == 0, "an earlier bundle is replaced"
    for path in bundle.iterdir():
        assert b"s3cret" not in path.read_bytes() and str(run).encode() not in path.read_bytes(), path
    slide = run.parent / "slides" / "b.tif"
    assert mlseg("predict", bundle, slide, "--mpp", MPP) == 2
    assert "a bundle has no folder for predictions" in capsys.readouterr().err
    assert mlseg("predict", bundle, slide, "--mpp", MPP, "--out", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").glob("b-*/regions.geojson"))) == 1
    assert mlseg("bundle", bundle, "--out", tmp_path / "again") == 2


def test_lineage_tells_slide_place_people_and_rounds(made, run, capsys):
    make(made, with_label(made.config), made.path / "data" / "labels-1")
    corpus = read_manifest(run / "data" / "shards" / "manifest.json")
    entry = corpus.of_splits("train")[0]
    with ShardReader(run / "data" / "shards" / entry.name, corpus.members) as shard:
        key = shard.key(3)
    capsys.readouterr()
    assert mlseg("lineage", run, key, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shard"]["row"] == 3 and found["slide"]["patient"] == "P1" and found["inputs"]["annotation"]
    (one,) = found["rounds"]
    assert (one["round"], one["for_step"], one["teacher"]["step"]) == (1, "master-1", "base")
    assert one["is_of_this_teacher"] and one["teacher_sha256"] == one["teacher"]["sha256"]
    for said in one["labels"].values():
        assert 0 < sum(row["called"] for row in said.values()) <= 1.001
        assert all(row["accepted"] <= row["called"] for row in said.values())
    assert mlseg("lineage", run, key) == 0
    assert "round 1   for master-1, by base" in capsys.readouterr().out
    assert mlseg("lineage", run, key[:-1] + "9") == 2
    assert "no sample" in capsys.readouterr().err
