"""The dashboard: what W&B's own files hold of a finished campaign. Tables, artifacts, media, the ladder, alerts; and no names.

A campaign is sent once for all tests here, as `mlseg wandb-follow --offline --once` sends it.
"""

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from mlseg_core.files import read_json, sha256_file, write_json
from mlseg_dist.config import FACTORS
from mlseg_dist.privacy.pseudonyms import Pseudonyms
from mlseg_dist.report import write
from mlseg_dist.tracking import Follower
from mlseg_dist.tracking.campaign import CampaignFollower
from mlseg_dist.tracking.lineage import lineage_of
from mlseg_dist.tracking.own import is_of_wandb
from mlseg_dist.tracking.story import story_of
from tests.mlseg_dist import wandb_files
from tests.mlseg_dist.evaluation.made_counts import made_corpus
from tests.mlseg_dist.report.campaign import PATIENTS, Reported, made_run, with_control
from tests.mlseg_dist.report.features import made_features

ORDER = ("base", "human-only-master-1", "master-1", "human-only-master-2", "master-2")


@dataclass(frozen=True)
class Sent:
    """A run and what W&B's files hold of it."""

    run: Reported

    @cached_property
    def campaign(self) -> list[dict[str, Any]]:
        return wandb_files.records(self.run.path)

    @cached_property
    def evaluate(self) -> list[dict[str, Any]]:
        return wandb_files.records(self.run.evaluate)


def finished(folder: Path) -> Reported:
    """Three steps and no control, evaluated; one check has failed."""
    run = made_run(folder, is_bare=True, checks={"last_over_base": {"test": 0.9}})
    corpus = made_corpus(PATIENTS)
    manifest = corpus.model_dump(mode="json")
    manifest["views"]["store_px"] = 192.0
    write_json(run.path / "data" / "shards" / "manifest.json", manifest)
    facts = {"round": 1, "threshold": 0.9, "accepted": {"background": 70, "tumour": 20, "others": 5}, "rejected": 5}
    facts["by_stain"], facts["by_slide"] = {}, {}
    for number in (1, 2):
        manifest = run.path / "data" / f"labels-{number}" / "manifest.json"
        write_json(manifest, {"facts": {**facts, "round": number}, "totals": {"samples": 12}})
    for step in ("02-base", "03-master-1", "04-master-2"):
        path = run.path / "phases" / step / "teacher.json"
        write_json(path, {**read_json(path), "step": 600, "miou": 0.5 + int(step[:2]) / 100, "iou": {"tumour": 0.6}})
    write_json(run.evaluate / "features.json", made_features(read_json(run.evaluate / "evaluation.json")))
    outputs = {"path": "phases/09-evaluate/evaluation.json"}
    done = {"kind": "evaluate", "outputs": outputs, "seconds": 3.0, "host": "n1", "ended": time.time()}
    write_json(run.evaluate / "done.json", done)
    write(run.config, run.path, run.path / "phases" / "10-report")
    return run


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Sent:
    run = finished(tmp_path_factory.mktemp("dashboard"))
    assert CampaignFollower(run.config, run.path, "offline").poll()
    follower = Follower(run.config, run.evaluate, "offline")
    assert follower.poll()
    follower.close()
    return Sent(run)


def tables(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> content of each table of the folder's one offline run."""
    (segment,) = wandb_files.segments(folder)
    root = segment / "files" / "media" / "table"
    found = sorted(root.rglob("*.table.json"))
    return {path.relative_to(root).as_posix().rsplit("_", 2)[0]: json.loads(path.read_text()) for path in found}


def artifacts(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> record of each artifact but those that hold tables."""
    every = [one["artifact"] for one in found if one["type"] == "artifact"]
    return {one["name"]: one for one in every if one["type"] != "run_table"}


def test_the_campaign_is_one_run_over_the_steps_of_the_ladder(sent):
    (run,) = [one["run"] for one in sent.campaign if one["type"] == "run"]
    assert (run["job_type"], run["run_group"], run["display_name"]) == ("campaign", "tiny", "tiny/campaign")
    assert wandb_files.is_closed(sent.campaign)
    axes = {
        one["metric"].get("glob_name", one["metric"].get("name")): one["metric"].get("step_metric")
        for one in sent.campaign
        if one["type"] == "metric"
    }
    assert {axes[name] for name in ("ladder/*", "control/*", "gain/*", "gate/*", "teacher/*", "round/*")} == {
        "ladder_step"
    }
    rows = wandb_files.history(sent.campaign)
    evaluation = read_json(sent.run.evaluate / "evaluation.json")
    ladder = {row["ladder_step"]: row["ladder/test/miou"] for row in rows if "ladder/test/miou" in row}
    expected = [evaluation["figures"]["test"][step]["pooled"]["miou"]["value"] for step in evaluation["steps"]]
    assert [ladder[place] for place in range(3)] == expected
    trained = {row["ladder_step"]: row for row in rows if "teacher/miou" in row}
    assert sorted(trained) == [0, 1, 2] and trained[1]["round/tumour"] == 0.2
    assert trained[1]["gate/share/tumour"] == pytest.approx(20 / 95) and trained[1]["gate/least_share_kept"] == 0.1
    assert "round/all" not in trained[0], "nobody labelled for the base"
    summary = wandb_files.summary(sent.campaign)
    assert summary["checks/failed"] == 1 and summary["steps/2"] == "master-2"


def test_the_table_of_slides_has_pseudonyms_and_the_reports_figures(sent):
    evaluation = read_json(sent.run.evaluate / "evaluation.json")
    names = Pseudonyms(sent.run.path)
    for folder in (sent.run.path, sent.run.evaluate):
        table = tables(folder)["slides"]
        rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
        assert len(rows) == len(evaluation["slides"])
        for slug, facts in evaluation["slides"].items():
            row = rows[names.slide(slug)]
            assert row["patient"] == names.patient(facts["patient"]) and row["stain"] == facts["stain"]
            assert row["master-2 mIoU"] == facts["figures"]["master-2"]["miou"]


def test_the_table_of_domains_says_what_is_unseen(sent):
    table = tables(sent.run.evaluate)["domains"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {row["domain"] for row in rows} == set(FACTORS) and {row["step"] for row in rows} >= {"base", "master-2"}
    stains = {row["value"]: row["unseen"] for row in rows if row["domain"] == "stain"}
    assert stains["H&E"] == "unseen" and "" in stains.values()
    assert {row[2] for row in tables(sent.run.evaluate)["bad_regions"]["data"]} >= {"all", "fold", "blur"}


def test_drawings_are_media_and_tissue_stays_unless_the_config_says_so(sent, tmp_path):
    (segment,) = wandb_files.segments(sent.run.evaluate)
    drawn = {path.name.rsplit("_", 2)[0] for path in (segment / "files" / "media" / "html").rglob("*.html")}
    assert drawn >= {"ladder", *FACTORS}, "the ladder, and features by stain, scanner and source"
    assert not list(segment.rglob("*.png"))
    run = finished(tmp_path)
    config = run.config.model_copy(update={"tracking": run.config.tracking.model_copy(update={"images": True})})
    follower = Follower(config, run.evaluate, "offline")
    assert follower.poll()
    follower.close()
    (segment,) = wandb_files.segments(run.evaluate)
    listed = read_json(run.evaluate / "evaluation.json")["pictures"]
    assert len(list((segment / "files" / "media" / "images").rglob("*.png"))) == len(listed) > 3
    (row,) = [one for one in wandb_files.history(wandb_files.records(run.evaluate)) if "slides._type" in one]
    captions = json.dumps(row)
    assert "slide-0" in captions and not [
        slug for slug in read_json(run.evaluate / "evaluation.json")["slides"] if slug in captions
    ]


def test_each_teacher_is_an_artifact_and_what_it_came_from_is_known(sent):
    found = artifacts(sent.evaluate)
    teachers = {name for name, one in found.items() if one["type"] == "teacher"}
    assert teachers == {"tiny-teacher-base", "tiny-teacher-master-1", "tiny-teacher-master-2"}
    assert all(found[name].get("use_after_commit") for name in (*teachers, "tiny-corpus"))
    assert not found["tiny-evaluation"].get("use_after_commit")
    sha = sha256_file(sent.run.path / "data" / "shards" / "manifest.json")
    (entry,) = found["tiny-corpus"]["manifest"]["contents"]
    assert entry["ref"] == f"mlseg://sha256/{sha}/manifest.json"
    assert set(artifacts(sent.campaign)) == {*found, "tiny-labels-1", "tiny-labels-2"}


def test_a_steps_own_run_logs_its_teacher_before_the_step_is_recorded_as_done(tmp_path):
    run = finished(tmp_path)
    phase = run.path / "phases" / "03-master-1"
    (phase / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 1.0, "time": 1.0}\n')
    follower = Follower(run.config, phase, "offline")
    assert follower.poll() and not follower.poll()
    follower.close()
    found = artifacts(wandb_files.records(phase))
    assert not found["tiny-teacher-master-1"].get("use_after_commit")
    assert {name for name, one in found.items() if one.get("use_after_commit")} == {
        "tiny-corpus",
        "tiny-labels-1",
        "tiny-teacher-base",
    }
    assert json.loads(found["tiny-teacher-master-1"]["metadata"])["miou"] == 0.53


def test_the_same_file_is_the_same_version_in_every_run(tmp_path):
    run = finished(tmp_path)
    made = {
        one.name: one.uri
        for phase in ("02-base", "01-shards")
        for one in lineage_of(run.config, run.path / "phases" / phase).made
    }
    used = {one.name: one.uri for one in lineage_of(run.config, run.path / "phases" / "04-label-1").used}
    assert used == made and set(used) == {"tiny-corpus", "tiny-teacher-base"}
    assert [one.name for one in lineage_of(run.config, run.path / "phases" / "04-label-1").made] == ["tiny-labels-1"]
    assert not lineage_of(run.config, run.path / "phases" / "10-report").made


def test_alerts_say_what_failed_and_what_got_lost(sent):
    told = {one["title"]: one for one in wandb_files.alerts(sent.campaign)}
    assert set(told) == {"tiny: 1 check failed", "tiny: bad regions are lost"}
    assert {one["level"] for one in told.values()} == {"ERROR"}
    assert "last step over base on test" in told["tiny: 1 check failed"]["text"]


def test_nothing_that_is_sent_names_a_slide_or_a_patient(sent):
    evaluation = read_json(sent.run.evaluate / "evaluation.json")
    names = {slug for slug in evaluation["slides"]} | {one["patient"] for one in evaluation["slides"].values()}
    names |= {one["slide"] for one in evaluation["slides"].values()}
    for folder in (sent.run.path, sent.run.evaluate):
        (segment,) = wandb_files.segments(folder)
        files = [path for path in segment.rglob("*") if path.is_file()]
        assert any(path.name.endswith(".table.json") for path in files)
        for path in files:
            data = path.read_bytes()
            assert not [name for name in names if name.encode() in data], path
            assert str(sent.run.path).encode() not in data or path.suffix == ".log", path


def test_every_file_of_a_run_is_known_as_wandbs_own(sent):
    for folder in (sent.run.path, sent.run.evaluate):
        (segment,) = wandb_files.segments(folder)
        for path in segment.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert is_of_wandb(path.relative_to(segment).as_posix()), path


def test_the_campaigns_run_is_sent_again_only_when_something_is_new(tmp_path):
    run = finished(tmp_path)
    follower = CampaignFollower(run.config, run.path, "offline")
    assert follower.poll() and not follower.poll()
    assert not CampaignFollower(run.config, run.path, "offline").poll(), "another process knows it too"
    (first,) = wandb_files.segments(run.path)
    path = run.path / "phases" / "04-master-2" / "teacher.json"
    write_json(path, {**read_json(path), "miou": 0.75})
    assert follower.poll()
    (second,) = wandb_files.segments(run.path)
    assert first != second, "one whole run folder, the newest"
    rows = wandb_files.history(wandb_files.records(run.path))
    assert [row["teacher/miou"] for row in rows if "teacher/miou" in row] == [0.52, 0.53, 0.75]


def test_a_control_and_what_the_rounds_gave_stand_beside_the_ladder(tmp_path):
    """By the rows themselves: that they are sent is tested above."""
    config, evaluation = with_control(ORDER)
    run = made_run(tmp_path, evaluation, is_bare=True)
    story = story_of(config, run.path)
    rows = {row["ladder_step"]: row for row in story.rows.values() if "ladder/test/miou" in row}
    figures = evaluation["figures"]["test"]
    assert rows[2]["control/test/miou"] == figures["human-only-master-2"]["pooled"]["miou"]["value"]
    paired = [
        one
        for one in evaluation["differences"]["test"]
        if (one["from"], one["to"]) == ("human-only-master-2", "master-2")
    ]
    assert rows[2]["gain/test/miou"] == paired[0]["miou"]["value"]
    assert "control/test/miou" not in rows[0]


def test_a_campaign_that_has_trained_nothing_yet_has_no_run(tmp_path):
    run = made_run(tmp_path, is_bare=True)
    for path in run.path.glob("phases/*/teacher.json"):
        path.unlink()
    (run.evaluate / "evaluation.json").unlink()
    assert not CampaignFollower(run.config, run.path, "offline").poll()
    assert not wandb_files.segments(run.path)
