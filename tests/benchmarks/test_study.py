"""The learning study: its intervals and figures by hand, and the whole of it on made tiles with two small networks."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.study import __main__ as study
from benchmarks.study.arms import ENCODER, GLAS, MERGES, PHANTOMS, Arm
from benchmarks.study.verdict import Outcome, by_patient, differences, grouped, markdown, twin_accuracy, unit_miou

RIGHT = np.diag([50, 30, 20])
WRONG = np.array([[50, 0, 0], [0, 0, 30], [0, 20, 0]])
"""Background right, tumour and others taken for each other."""
SMALL = {
    "encoder": {**ENCODER, "width": 0.1, "depth": 0.1},
    "decoder": {"kind": "light", "channels": [8, 8, 8, 8, 8], "stride": 4},
    "merge": "both",
    "merge_channels": 8,
}


def outcome(name, confusions, units):
    arm = next(arm for arm in MERGES.arms if arm.name == name)
    return Outcome(arm, 1, 1.0, 1.0, tuple(units), np.array(confusions, np.int64), [1.0] * len(confusions))


def test_look_alikes_by_hand():
    fine = {"malignant_gland": [100, 30, 10], "benign_gland": [0, 40, 10], "stroma": [9, 9, 9]}
    assert twin_accuracy(fine, ("malignant_gland", "benign_gland")) == pytest.approx((30 / 40 + 10 / 50) / 2)


def test_differences_by_hand():
    """Two units, one of them right in one arm: pooled IoU and mean over seeds worked out here; a draw has 0, 1 or 2 of it."""
    reference = outcome("both", [[WRONG, WRONG], [WRONG, WRONG]], "ab")
    arm = outcome("crop", [[RIGHT, WRONG], [WRONG, WRONG]], "ab")
    mixed = np.array([1.0, 30 / 80, 20 / 70])  # 30 of 60 px hit and 50 missed or taken besides; 20 of 40 and 50
    expected = np.array([mixed.mean() - 1 / 3, *(mixed - [1, 0, 0])]) / 2  # in one seed of two
    whole, low, high = differences(arm, reference)
    assert whole == pytest.approx(expected)
    assert low == pytest.approx([0, 0, 0, 0]) and high == pytest.approx([1 / 3, 0, 1 / 2, 1 / 2])
    assert not differences(arm, arm).any()


def test_tiles_of_one_patient_are_no_evidence_of_their_own():
    """20 tiles of 2 patients, the arm right on one patient's: narrow over tiles, all or nothing over patients."""
    units = [f"{patient}{number}" for patient in "ab" for number in range(10)]
    arm = outcome("crop", [[RIGHT] * 10 + [WRONG] * 10], units)
    reference = outcome("both", [[WRONG] * 20], units)
    tiles = differences(arm, reference)
    by_group = [grouped(one, {unit: unit[0] for unit in units}) for one in (arm, reference)]
    assert by_group[0].units == ("a", "b") and np.array_equal(by_group[0].confusions[0], [10 * RIGHT, 10 * WRONG])
    patients = differences(*by_group)
    assert patients[0] == pytest.approx(tiles[0])
    assert patients[1:, 0] == pytest.approx([0, 2 / 3])
    assert 0.05 < tiles[1, 0] < tiles[0, 0] < tiles[2, 0] < 0.6


def test_a_patients_own_figure_counts_the_classes_that_it_has():
    benign = np.array([[50, 10, 0], [0, 0, 0], [0, 0, 20]])  # no malignant gland, some background taken for it
    (found,) = unit_miou(outcome("both", [[benign], [np.diag([50, 0, 20])]], "a"))
    assert found == pytest.approx(((50 / 60 + 1) / 2 + 1) / 2)


def test_tables():
    arms = {name: outcome(name, [[RIGHT, WRONG, WRONG]], "xyz") for name in ("both", "crop")}
    arms["crop"] = replace(arms["crop"], confusions=np.array([[RIGHT, RIGHT, WRONG]]))
    table = markdown(GLAS, list(arms.values()), "Facts.")
    assert table.index(GLAS.hypothesis) < table.index(GLAS.budget) < table.index("Facts.") < table.index("| both: ")
    lines = by_patient(GLAS, list(arms.values()), {"x": "1", "y": "1", "z": "2"}).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:4]] == ["3 tiles", "2 patients"] and "| 1 of 2 |" in lines[3]
    gain = (60 / 110 + 40 / 90 - 30 / 130 - 20 / 120) / 3  # background is right in both
    most = (2 - 30 / 80 - 20 / 70) / 3  # patient 1 drawn twice
    assert f"| crop | +{gain:.3f} (+0.000 … +{most:.3f}) |" in lines
    assert [line.split(" | ")[:2] for line in lines[-2:]] == [["| 1", "2"], ["| 2", "1"]]


def write_tiles(folder, patients=12):
    """Noise with two glands on it, laid out as GlaS is."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = ["name,patient_id"]
    for number in range(patients):
        mask = np.zeros((260, 320), np.uint8)
        cv2.circle(mask, (90, 130), 60, 1, -1)
        cv2.circle(mask, (230, 130), 60, 2, -1)
        image = random.integers(0, 60, (260, 320, 3), np.uint8) + 60 * mask[..., None] + 40
        cv2.imwrite(str(folder / f"images/t{number}.jpg"), image)
        cv2.imwrite(str(folder / f"masks/t{number}.png"), mask)
        lines.append(f"t{number},{number}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def test_the_whole_study_on_tiles_and_again(tmp_path, monkeypatch, capfd):
    """Corpus by the commands, plan before the runs, both arms trained and scored on patients held out; then nothing is left."""
    arms = (
        Arm("both", {**SMALL, "kind": "munet"}, "small"),
        Arm("single view", {**SMALL, "kind": "unet"}, "small"),
    )
    monkeypatch.setattr(study, "GLAS", replace(GLAS, arms=arms))
    write_tiles(tmp_path / "tiles")
    out, folder = tmp_path / "out.md", tmp_path / "work"
    words = ["--glas", str(tmp_path / "tiles"), "--folder", str(folder), "--out", str(out)]
    words += ["--draws", "16", "--seeds", "1", "--jobs", "2"]
    assert study.main(words) == 0
    page = out.read_text()
    assert "scored on the 6 tiles" in page and "| single view | 6 patients |" in page
    assert str(tmp_path) not in page
    found = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/found.json")}
    manifest = json.loads((folder / "shards/manifest.json").read_text())
    held_out = {slide["slug"] for slide in manifest["slides"] if slide["split"] in ("val", "test")}
    assert len(found) == 2 and len(held_out) == 6
    for path in found:
        counted = json.loads(path.read_text())
        assert set(counted["slides"]) == held_out and {"malignant_gland", "benign_gland"} <= set(counted["fine"])
    assert study.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/found.json")} == found
    assert "0 minutes of training" in capfd.readouterr().err


def test_the_plan_is_written_before_anything_runs_and_never_over_a_page(tmp_path, capsys):
    out = tmp_path / "out.md"
    words = ["--glas", str(tmp_path / "nothing"), "--folder", str(tmp_path), "--out", str(out)]
    with pytest.raises(SystemExit) as stopped:
        study.main(words)
    assert stopped.value.code == 2 and "no such table of tiles" in capsys.readouterr().err
    assert GLAS.hypothesis in out.read_text() and GLAS.budget in out.read_text() and "| arm |" not in out.read_text()
    out.write_text("tables of an earlier run")
    with pytest.raises(SystemExit):
        study.main(words)
    assert out.read_text() == "tables of an earlier run"


def test_a_run_is_kept_for_its_own_corpus_and_material_only(tmp_path):
    arm = MERGES.arms[0]
    places = set()
    for number, material in ((1, PHANTOMS), (1, GLAS.material), (2, GLAS.material)):
        corpus = tmp_path / str(number)
        corpus.mkdir(exist_ok=True)
        (corpus / "manifest.json").write_text(str(number))
        places.add(study._place(replace(MERGES, material=material), arm, 1, tmp_path, corpus, 16))
    assert len(places) == 3
