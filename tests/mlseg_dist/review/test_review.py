"""`mlseg review` on a run with two rounds: what it writes QuPath and our own reader take, and nothing of anybody's is lost."""

import csv
import json
from pathlib import Path

import pytest

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, sha256_file
from mlseg_dist.review.files import RECORD, geojson_name
from mlseg_dist.review.scores import rounds_to_compare
from mlseg_dist.review.work import review
from mlseg_dist.run_folder import labels_folder
from shards.annotation.geojson import parse_geojson
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.tiny_run import TinyRun


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    made = lively_run(tmp_path_factory.mktemp("review"))
    for step in (0, 1):
        make(made, with_label(made.config, step), labels_folder(made.path, step + 1), step)
    return made


def reviewed(run: TinyRun, folder: Path, budget: float = 0.05, **more):
    return review(run.config, "tiny", run.path, folder, budget, **more)


def test_the_files_agree_with_each_other(run, tmp_path):
    made = reviewed(run, tmp_path / "review")
    rows = list(csv.DictReader((tmp_path / "review" / "regions.csv").open()))
    assert [int(row["rank"]) for row in rows] == list(range(1, len(made.regions) + 1)) and made.rounds == [1, 2]
    assert sum(float(row["mm2"]) for row in rows) <= 0.05 + 1e-9
    slug = rows[0]["slide"]
    tree = json.loads((tmp_path / "review" / geojson_name(slug)).read_text())
    assert len(tree["features"]) == len(rows), "the corpus has one train slide"
    for row, feature in zip(rows, tree["features"], strict=True):
        xs, ys = zip(*feature["geometry"]["coordinates"][0], strict=True)
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx((x, y, x + width, y + height), abs=0.11)
        assert width == height == 32, "32 px of the high view, 2 µm each, on level 0 of 2 µm/px"
        assert feature["properties"]["measurements"]["rank"] == int(row["rank"])
    record = read_json(tmp_path / "review" / RECORD)
    assert {name: sha256_file(tmp_path / "review" / name) for name in record["files"]} == record["files"]


def test_regions_in_an_export_are_no_annotation(run, tmp_path):
    made = reviewed(run, tmp_path / "review")
    path = tmp_path / "review" / geojson_name(made.regions[0].patch.ref.slide)
    tree = json.loads(path.read_text())
    drawn = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
    }
    drawing = parse_geojson(json.dumps({**tree, "features": [*tree["features"], drawn]}).encode())
    assert [shape.name for shape in drawing.shapes] == ["Tumor"]
    assert drawing.ignored["region of mlseg review"] == len(tree["features"])


def test_the_page_shows_each_region_and_needs_nothing_else(run, tmp_path):
    made = reviewed(run, tmp_path / "review")
    page = (tmp_path / "review" / "index.html").read_text()
    assert page.count('class="card"') == page.count("data:image/jpeg;base64,") == len(made.regions)
    assert "http" not in page.split("</style>")[1] and "script" not in page


def test_the_same_again_and_with_more_processes(run, tmp_path):
    first, second = (reviewed(run, tmp_path / name, workers=n) for name, n in (("a", 1), ("b", 2)))
    assert [one.patch.ref.key for one in first.regions] == [one.patch.ref.key for one in second.regions]
    assert (tmp_path / "a" / "index.html").read_text() == (tmp_path / "b" / "index.html").read_text()
    reviewed(run, tmp_path / "a", budget=0.01)
    assert len(list(csv.DictReader((tmp_path / "a" / "regions.csv").open()))) == 2, "written anew"


def test_one_round_cannot_disagree(run, tmp_path):
    made = reviewed(run, tmp_path / "review", newest=1)
    assert made.rounds == [1] and "disagreement" not in made.reasons
    assert "no two rounds could be compared" in (tmp_path / "review" / "index.html").read_text()


def test_what_people_put_there_stays(run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that is not a review"):
        reviewed(run, tmp_path / "notes")
    made = reviewed(run, tmp_path / "review")
    path = tmp_path / "review" / geojson_name(made.regions[0].patch.ref.slide)
    path.write_text("{}")
    with pytest.raises(UserError, match="was changed since the review was written"):
        reviewed(run, tmp_path / "review")
    assert path.read_text() == "{}"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        reviewed(run, tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 0.001}, "0.001 mm² is less than one region"),
        ({"newest": 7}, "no labels of round 7 (--round). There are those of rounds: 1, 2."),
    ],
)
def test_what_cannot_be_done_is_said(run, tmp_path, options, said):
    with pytest.raises(UserError) as raised:
        reviewed(run, tmp_path / "review", **options)
    assert said.split(" (")[0] in str(raised.value)
    assert not (tmp_path / "review").exists()


def test_a_campaign_without_labels_has_nothing_to_review(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="no labels of any round"):
        rounds_to_compare(tmp_path)


def test_a_record_that_names_other_places_is_not_followed(run, tmp_path):
    folder = tmp_path / "review"
    reviewed(run, folder)
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    record = read_json(folder / RECORD)
    record["files"]["../victim.txt"] = sha256_file(victim)
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match="holds something that is not a review"):
        reviewed(run, folder)
    assert victim.read_text() == "mine"
