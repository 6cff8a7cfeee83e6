"""An evaluation from slides to evaluation.json: right, and the same bytes whoever counts and whatever happens meanwhile."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlseg_core.config import validate
from mlseg_core.errors import Interrupted, UserError, exit_status
from mlseg_core.exactly_once.run import Incomplete, run_units
from mlseg_core.files import write_json
from mlseg_dist.config import EvaluateConfig
from mlseg_dist.evaluation import campaign, work
from mlseg_dist.evaluation.against import steps_against, subject_against
from mlseg_dist.evaluation.plan import Subject, scored_slides, taught, units
from mlseg_dist.evaluation.publish import Other, publish, reasons
from mlseg_dist.evaluation.results import split_done
from mlseg_dist.evaluation.table import print_headline
from tests.mlseg_dist.evaluation.subjects import digest, evaluated, killed_at, subject_of, units_of
from tests.mlseg_dist.tiny_run import KnowsColours, TinyRun

SPLITS = ["val", "test"]
ANNOTATED = 512 * 384  # of each painted slide


@pytest.fixture(scope="module")
def once(run, tmp_path_factory) -> Path:
    """Two splits, evaluated by one worker; counts and out."""
    folder = tmp_path_factory.mktemp("once")
    evaluated(subject_of(run, splits=SPLITS), folder)
    return folder


def found_in(folder: Path) -> dict:
    return json.loads((folder / "out" / "evaluation.json").read_text())


def test_every_annotated_pixel_counts_once(run, once):
    found = found_in(once)
    assert found["version"] == 2 and found["steps"] == ["base", "master-1"]
    assert found["grid"] == {"cell_um": 2.0, "view_px": 64, "overlap": 0.25, "forwards_per_area": 1.7778}
    assert {slide["split"] for slide in found["slides"].values()} == set(SPLITS)
    for slide in found["slides"].values():
        assert sum(slide["pixels"].values()) == ANNOTATED and not any(slide["unanswered"].values())
    text = json.dumps(found)
    assert str(run.path) not in text and found["not_scored"] == []


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(run, once, tmp_path, workers):
    evaluated(subject_of(run, splits=SPLITS), tmp_path, [(number, workers) for number in reversed(range(workers))])
    assert digest(tmp_path) == digest(once)
    drawn = sorted(path.name for path in (once / "out" / "pictures").iterdir())
    assert drawn == sorted(path.name for path in (tmp_path / "out" / "pictures").iterdir())
    for name in drawn:
        same = [(folder / "out" / "pictures" / name).read_bytes() for folder in (once, tmp_path)]
        assert same[0] == same[1]


def test_killed_at_half_and_interrupted_it_goes_on_to_the_same_bytes(run, once, tmp_path):
    subject = subject_of(run, splits=SPLITS)
    ended = killed_at(30, subject, tmp_path)  # 11 strips a slide: in the third of four units
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    todo = units_of(subject)
    done, left = split_done(todo, [tmp_path / "counts"])
    assert (len(done), len(left)) == (2, 2)
    with pytest.raises(Incomplete):
        publish(subject, todo, [tmp_path / "counts"], tmp_path / "out")
    asked = iter([False, True])
    with pytest.raises(Interrupted) as stopped:
        run_units(todo, work.count, tmp_path / "counts", describe=work.describe, stop=lambda: next(asked))
    assert exit_status(stopped.value) == 75
    evaluated(subject, tmp_path)
    assert digest(tmp_path) == digest(once)


def test_counts_made_elsewhere_are_used_where_the_inputs_are_equal(run, once, tmp_path):
    half = subject_of(run, steps=["base"], splits=["test"])
    todo = units_of(half)
    assert not split_done(todo, [tmp_path / "nowhere", once / "counts"])[1]
    found = publish(half, todo, [once / "counts"], tmp_path)
    assert found["steps"] == ["base"] and found["slides"].keys() == {"c"}
    whole = found_in(once)["slides"]["c"]["figures"]["base"]
    assert found["slides"]["c"]["figures"]["base"] == whole
    for change in ({"overlap": 0.5}, {"view_px": 32}, {"boundary_um": 4.0}, {"threshold": 0.5}, {"batch": 3}):
        other = units_of(subject_of(run, steps=["base"], splits=["test"], **change))
        assert other[0].name != todo[0].name and not split_done(other, [once / "counts"])[0]


def test_counts_that_changed_since_they_were_written_make_no_figures(run, once, tmp_path):
    half = subject_of(run, steps=["base"], splits=["test"])
    todo = units_of(half)
    shutil.copytree(once / "counts", tmp_path / "counts")
    path = tmp_path / "counts" / f"{todo[0].name}.json"
    place = (data := path.read_bytes()).index(b'"count":[') + len(b'"count":[')
    path.write_bytes(
        data[:place] + (b"2" if data[place : place + 1] == b"1" else b"1") + data[place + 1 :]
    )  # as long as before
    with pytest.raises(UserError, match="the counts changed since they were written"):
        publish(half, todo, [tmp_path / "counts"], tmp_path)


def test_a_teacher_whose_answers_are_known(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Subject, "predictor", lambda self, step: KnowsColours())
    found = evaluated(subject_of(run, steps=["master-1"]), tmp_path)
    for split, steps in found["figures"].items():
        pooled = steps["master-1"]["pooled"]
        assert pooled["miou"]["value"] == 1.0, split
        assert pooled["confusion"][1][1] == found["splits"][split]["pixels"]["tumour"] > 0
        assert pooled["surface_dice"]["tumour"]["value"] == 1.0
        assert found["bad_regions"][split]["master-1"]["recall"]["value"] == 1.0
    shown = [row for row in found["pictures"] if row["kind"] == "example"]
    assert len(shown) == 6 and {row["iou"] for row in shown} <= {1.0}, "two a split"


def test_pictures_name_no_slide_and_are_what_is_listed(run, once):
    found = found_in(once)
    files = [row["file"] for row in found["pictures"]]
    assert sorted(files) == sorted(path.name for path in (once / "out" / "pictures").iterdir())
    worst = [row for row in found["pictures"] if row["kind"] == "worst"]
    assert [row["file"] for row in worst] == ["worst-val-00.png", "worst-test-00.png"]
    assert {row["step"] for row in found["pictures"]} == {"master-1"}
    for row in worst:
        assert row["iou"] == found["slides"][row["slide"]]["figures"]["master-1"]["miou"]
        with Image.open(once / "out" / "pictures" / row["file"]) as image:
            assert image.width <= 1000


class Broken:
    """Answers nothing that is a number."""

    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
        return {"high": np.full((len(high), 3, *high.shape[1:3]), np.nan, np.float32)}


def test_a_network_without_numbers_is_reported_and_not_scored(run, tmp_path, monkeypatch):
    teachers = (Broken(), KnowsColours())
    monkeypatch.setattr(Subject, "predictor", lambda self, step: teachers[step])
    found = evaluated(subject_of(run, splits=["test"]), tmp_path)
    (row,) = found["not_scored"]
    assert (row["slide"], row["split"], row["step"]) == ("c", "test", "base") and "is no number" in row["why"]
    assert found["figures"]["test"]["base"]["pooled"]["miou"]["value"] is None
    assert found["figures"]["test"]["master-1"]["pooled"]["miou"]["value"] == 1.0
    assert "c (test) was not scored by base" in reasons(found)[0]


def test_a_slide_that_the_audit_refuses_is_not_scored_and_stops_nothing(run, tmp_path):
    subject = subject_of(run, splits=["test"], steps=["base"])
    audit = subject.shards.audit.model_copy(update={"min_tissue": 1.0})
    found = evaluated(replace(subject, shards=subject.shards.model_copy(update={"audit": audit})), tmp_path)
    (row,) = found["not_scored"]
    assert row["slide"] == "c" and "is tissue; at least 100" in row["why"]
    assert found["figures"]["test"]["base"]["pooled"]["miou"]["value"] is None and found["pictures"] == []


def copied(run: TinyRun, folder: Path) -> TinyRun:
    shutil.copytree(run.path.parent, folder / "copy")
    return replace(run, path=folder / "copy" / "run")


def test_a_slide_or_annotation_that_changed_since_it_was_cut_is_one_clear_line(run, tmp_path):
    mine = copied(run, tmp_path)
    slides = mine.path.parent / "slides"
    subject = subject_of(mine, splits=["test"])
    assert units_of(subject)
    text = (slides / "c.geojson").read_text()
    (slides / "c.geojson").write_text(text.replace("Stroma", "Tumor"))
    with pytest.raises(UserError, match=r"c\.geojson: the annotation changed since"):
        units_of(subject)
    (slides / "c.geojson").write_text(text)
    shutil.copyfile(slides / "b.tif", slides / "c.tif")
    with pytest.raises(UserError, match=r"c\.tif: the slide changed since"):
        units_of(subject)
    table = (slides / "slides.csv").read_text().splitlines()
    (slides / "slides.csv").write_text("\n".join(row for row in table if not row.startswith("c.tif")) + "\n")
    with pytest.raises(UserError, match=r"slide c\.tif of the corpus is not in the slide table"):
        units_of(subject)


def test_half_a_campaign_is_evaluated_as_far_as_it_is(run, tmp_path):
    mine = copied(run, tmp_path)
    (record,) = mine.path.glob("phases/*-master-1/teacher.json")
    record.unlink()
    subject = subject_of(mine)
    assert [step.name for step in taught(subject).steps] == ["base"]
    with pytest.raises(UserError, match="master-1 has no teacher yet"):
        taught(subject_of(mine, steps=["master-1"]))
    (record,) = mine.path.glob("phases/*-base/teacher.json")
    record.unlink()
    with pytest.raises(UserError, match="no step has a teacher yet"):
        taught(subject)


def test_against_another_run_over_the_same_slides(run, once, tmp_path):
    mine = copied(run, tmp_path)
    subject, other = subject_of(run, splits=["test"]), subject_of(mine, splits=["val"], overlap=0.0)
    slides = scored_slides(subject, ["test"])
    theirs, their_slides = subject_against(subject, slides, other)
    their_units = units(theirs, their_slides)
    assert {unit.name for unit in their_units} == {unit.name for unit in units_of(subject)}, "the same networks"
    steps = steps_against(subject, theirs)
    found = publish(
        subject, units_of(subject), [once / "counts"], tmp_path / "out", against=Other(theirs, their_units, steps)
    )
    assert found["against"]["steps"] == {"base": "base", "master-1": "master-1"}
    assert {row["miou"]["value"] for row in found["against"]["differences"]["test"]} == {0.0}
    corpus = mine.path / "data" / "shards" / "manifest.json"
    write_json(corpus, {**json.loads(corpus.read_text()), "fingerprint": "another"})
    subject_against(subject, slides, other)
    write_json(corpus, {**json.loads(corpus.read_text()), "classes": ["something"]})
    with pytest.raises(UserError, match="its corpus has other classes"):
        subject_against(subject, slides, other)


def test_settings_that_nobody_changed_stay_out_of_dumps():
    before = {"splits": ["val", "test", "dev-unseen"], "batch": 16, "pictures": 12}
    assert EvaluateConfig().model_dump(mode="json") == before
    recorded = validate({**before, "threshold": 0.45}, EvaluateConfig, "test")
    assert recorded.model_dump(mode="json") == {**before, "threshold": 0.45}
    assert EvaluateConfig(overlap=0.5, steps=("base",)).model_dump(mode="json") == {
        **before,
        "steps": ["base"],
        "overlap": 0.5,
    }


def test_the_headline_fits_80_columns_with_all_intervals(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    whole = {"value": 0.8123, "low": 0.7511, "high": 0.8644, "patients": 12}
    none = {"value": None, "low": None, "high": None, "patients": 0}
    pooled = {"miou": whole, "iou": {"background": whole, "tumour": whole, "others": none}}
    found = {
        "classes": ["background", "tumour", "others"],
        "splits": {"final-unseen": {"patients": 12}},
        "figures": {"final-unseen": {"master-10": {"pooled": pooled}}},
        "against": {"name": "other", "differences": {"test": [{"from": "a", "to": "b", "miou": whole}]}},
    }
    print_headline(found, Path("evaluation.json"))
    said = capsys.readouterr().out
    assert "final-unseen (12)" in said and ".812 [.75,\u00a0.86]" in said and "…" not in said
    assert "test: b minus a of other: +.812 [+.75,\u00a0+.86]" in said and max(map(len, said.splitlines())) <= 80
    pooled["iou"]["others"] = whole
    print_headline(found, Path("evaluation.json"))
    said = capsys.readouterr().out
    assert said.count(".812 [.75,\u00a0.86]") == 3 and "…" not in said, (
        "a narrow terminal wraps lines; it hides no figure"
    )


def test_a_campaign_opens_final_unseen_once_and_is_not_stopped_by_a_slide_without_score(run, tmp_path, monkeypatch):
    mine = copied(run, tmp_path)
    corpus = mine.path / "data" / "shards" / "manifest.json"
    corpus.write_text(corpus.read_text().replace('"dev-unseen"', '"final-unseen"'))
    subject = subject_of(mine, splits=["test", "final-unseen"], steps=["base"])
    assert campaign.begin(subject_of(mine, splits=["test"]))[1] is None
    todo, opening = campaign.begin(subject)
    assert campaign.begin(subject) == (todo, opening), "every worker asks"
    with monkeypatch.context() as patch:
        patch.setattr(Subject, "predictor", lambda self, step: Broken())
        assert not run_units(todo, work.count, tmp_path / "counts", describe=work.describe)
    told: list[str] = []
    campaign.publish(
        subject, todo, tmp_path / "counts", tmp_path / "out", opening, lambda event, text, *_, **__: told.append(text)
    )
    assert len(told) == 2 and (tmp_path / "out" / "evaluation.json").exists()
    assert campaign.begin(subject)[1].finished, "killed after the file was written, the phase may end"
    with pytest.raises(UserError, match="final-unseen was opened before"):
        campaign.begin(subject_of(mine, splits=["final-unseen"], steps=["master-1"]))
