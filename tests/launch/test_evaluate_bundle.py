"""`mlseg evaluate BUNDLE --slides TABLE`: the figures of the run for the same slides, to the last digit; mistakes in one line."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("onnxruntime", reason="the extra `bundle` is not installed")
pytest.importorskip("onnx", reason="the extra `bundle` is not installed")
pytest.importorskip("safetensors", reason="the extra `bundle` is not installed")

from launch.cli import main
from mlseg_core.files import read_json, sha256_file
from tests.mlseg_dist.labelling.rounds import lively_run
from tests.mlseg_dist.tiny_run import plain_config
from tests.shards.slides_for_tests import shards_config


def mlseg(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with teachers; its seed, overlap and tolerance are not the defaults."""
    made = lively_run(tmp_path_factory.mktemp("evaluate-bundle"))
    raw = plain_config()
    raw |= {
        "name": made.path.name,
        "seed": 7,
        "runs": str(made.path.parent),
        "slides": str(made.path.parent / "slides" / "slides.csv"),
        "shards": shards_config().model_dump(mode="json"),
        "evaluate": {**raw["evaluate"], "pictures": 0, "overlap": 0.5, "boundary_um": 20.0},
        "cluster": {"executor": "local"},
    }
    (made.path / "campaign.yaml").write_text(yaml.safe_dump(raw))
    return made.path


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "bundle"
    assert mlseg("bundle", run, "--out", out) == 0
    return out


@pytest.fixture
def table(run, tmp_path) -> Path:
    """The run's slides where the run is not, under a table of a person's own: only test and dev-unseen."""
    slides = tmp_path / "mine"
    shutil.copytree(run.parent / "slides", slides)
    with (slides / "slides.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for column in ("slide", "annotation"):
            row[column] = Path(row[column]).name if row[column] else ""
    return write(slides / "mine.csv", [row for row in rows if row["split"] in ("test", "dev-unseen")])


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_figures_are_those_of_the_run_to_the_last_digit(run, bundle, table, tmp_path, capsys) -> None:
    splits = ("--split", "test", "--split", "dev-unseen")
    assert mlseg("evaluate", run, *splits, "--steps", "master-1", "--out", tmp_path / "of-run") == 0
    shutil.move(run, run.with_name("away"))
    try:
        assert (
            mlseg("evaluate", bundle, "--slides", table, *splits, "--out", tmp_path / "of-bundle", "--workers", "2")
            == 0
        )
    finally:
        shutil.move(run.with_name("away"), run)
    ours, theirs = (read_json(tmp_path / of / "evaluation.json") for of in ("of-bundle", "of-run"))
    assert {row["factor"] for row in ours["domains"]["master-1"]} == {"stain", "scanner", "source"}
    assert any(row["unseen"] for row in ours["domains"]["master-1"]) and ours["figures"]["test"]["master-1"]["pooled"]
    assert ours == theirs, [key for key in theirs if ours[key] != theirs[key]]
    for row in ours["pictures"]:
        assert sha256_file(tmp_path / "of-bundle" / "pictures" / row["file"]) == sha256_file(
            tmp_path / "of-run" / "pictures" / row["file"]
        )
    before = sha256_file(tmp_path / "of-bundle" / "evaluation.json")
    counts = {path: path.stat().st_mtime_ns for path in (tmp_path / "of-bundle" / "counts").glob("*.json")}
    assert mlseg("evaluate", bundle, "--slides", table, *splits, "--out", tmp_path / "of-bundle") == 0
    assert before == sha256_file(tmp_path / "of-bundle" / "evaluation.json")
    assert counts == {path: path.stat().st_mtime_ns for path in counts}, "nothing is counted twice"


def test_train_and_final_unseen_are_left_out_and_it_says_so(run, bundle, table, tmp_path, capsys) -> None:
    rows = read(table)
    rows[0]["split"], rows[1]["split"] = "final-unseen", "test"
    write(table, rows)
    assert mlseg("evaluate", bundle, "--slides", table, "--out", tmp_path / "out") == 0
    assert "1 annotated slides of final-unseen are left out" in capsys.readouterr().err
    found = read_json(tmp_path / "out" / "evaluation.json")
    assert list(found["splits"]) == ["test"] and list(found["slides"]) == [Path(rows[1]["slide"]).stem]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--slides"),
        (["--slides", "{table}"], "--out"),
        (["--slides", "{table}.none", "--out", "{out}"], "no such slide table"),
        (["--slides", "{table}", "--out", "{out}", "--split", "final-unseen"], "Evaluate it with the run"),
        (["--slides", "{table}", "--out", "{out}", "--split", "val"], "no annotated slide of val"),
        (["--slides", "{table}", "--out", "{out}", "--steps", "base"], "the bundle holds step master-1, not 'base'"),
        (["--slides", "{table}", "--out", "{out}", "--threshold", "0.3"], "Choose it on val"),
        (["--slides", "{table}", "--out", "{out}", "--overlap", "3"], "overlap"),
        (["--slides", "{table}", "--out", "{out}", "--view-px", "33"], "a munet cannot take views of 33 px"),
        (["--slides", "{table}", "--out", "{out}", "--against", "{run}"], "--against"),
        (["--slides", "{table}", "--out", "{bundle}/there"], "the bundle lies there"),
        (["--slides", "{table}", "--out", "{table}"], "is a file, not a folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(run, bundle, table, tmp_path, words, said, capsys) -> None:
    names = {"table": table, "out": tmp_path / "out", "bundle": bundle, "run": run}
    capsys.readouterr()
    assert mlseg("evaluate", bundle, *(word.format(**names) for word in words)) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists() and not (bundle / "there").exists()


def test_slides_are_for_bundles_and_a_bundle_of_before_is_refused(run, bundle, table, tmp_path, capsys) -> None:
    assert mlseg("evaluate", run, "--slides", table) == 2
    assert "Leave it out, or name a bundle" in capsys.readouterr().err
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    raw = json.loads((old / "teacher.json").read_text())
    del raw["evaluation"]
    (old / "teacher.json").write_text(json.dumps(raw))
    assert mlseg("evaluate", old, "--slides", table, "--out", tmp_path / "out") == 2
    assert "Make it again: mlseg bundle RUN --out DIR" in capsys.readouterr().err
    assert mlseg("predict", old, table, "--out", tmp_path / "maps") == 0


def test_a_wrong_class_in_an_annotation_is_told_at_once_without_torch(bundle, table, tmp_path) -> None:
    row = read(table)[0]
    annotation = table.parent / row["annotation"]
    annotation.write_text(annotation.read_text().replace("Tumor", "Tumorr"))
    code = "import sys; from launch.cli import main; s = main(sys.argv[1:]); print(s, 'torch' in sys.modules)"
    words = [sys.executable, "-c", code, "evaluate", bundle, "--slides", table, "--out", tmp_path / "out"]
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert ended.stdout == "2 False\n" and "Tumorr" in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr
    assert not (tmp_path / "out").exists()


def test_the_card_of_an_evaluated_run_shows_its_domains(run, tmp_path) -> None:
    """`bundle` finds what `evaluate` wrote: a list of rows for each step."""
    splits = ("--split", "test", "--split", "dev-unseen")
    assert mlseg("evaluate", run, *splits) == 0 and mlseg("bundle", run, "--out", tmp_path / "bundle") == 0
    card = (tmp_path / "bundle" / "README.md").read_text()
    found = read_json(run / "evaluations" / "test+dev-unseen" / "evaluation.json")
    for row in found["domains"]["master-1"]:
        seen = "no" if row["unseen"] else "yes"
        start = f"| {row['factor']} | {row['value']} | {seen} | {row['slides']} | {row['patients']} | "
        assert f"{start}{row['miou']['value']:.3f} |" in card, card
