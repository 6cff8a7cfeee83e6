"""What a step learns from: people, the round of labels, or both; and the control that stands beside the campaign's ladder."""

import shutil

import numpy as np
import pytest
import torch

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_core.files import read_json_lines, sha256_file, write_json
from mlseg_dist.config import IGNORED, LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.views import stored_views
from mlseg_dist.run_folder import labels_folder, teacher_record
from mlseg_dist.training.inputs import open_corpus
from shards.sample import decode_label
from tests.mlseg_dist.prepared_run import ONE_QUAD, STEP, Prepared, figures, prepare
from tests.mlseg_dist.ranks import run_ranks


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("teach"), {**ONE_QUAD, "validations": 1, "epoch_draws": 8, "engine": "ddp"})


def changed(prepared: Prepared, **changes: object) -> LearningConfig:
    """changes: of the second step; controls: of the campaign."""
    raw = prepared.config.model_dump(mode="json")
    controls = changes.pop("controls", [])
    raw["steps"][STEP] |= changes
    return validate({**raw, "controls": controls}, LearningConfig, "test")


def test_pixels_and_draws_of_people_of_the_round_and_of_both(prepared):
    corpora = {}
    for teach in ("human", "pseudo", "both"):
        corpora[teach] = open_corpus(changed(prepared, teach=teach), STEP, prepared.run)
    people, round_, both = (corpora[teach].drawing_classes for teach in ("human", "pseudo", "both"))
    assert (people == IGNORED).any() and (people != IGNORED).any()
    assert np.array_equal(both, np.where(people != IGNORED, people, round_))
    assert (round_[people != IGNORED] != people[people != IGNORED]).any(), "the teacher is not people"
    for number in np.flatnonzero(both != IGNORED)[:6]:
        ref = corpora["both"].ref(int(number))
        of = {teach: stored_views(corpus, ref) for teach, corpus in corpora.items()}
        for view in ("high_label", "low_label"):
            human, pseudo, joined = (getattr(of[teach], view) for teach in ("human", "pseudo", "both"))
            assert np.array_equal(joined, np.where(human != IGNORED, human, pseudo))
        sidecar = decode_label(corpora["both"].read_sidecar(ref)["high.png"])
        accepted = labels.decode(sidecar, corpora["both"].accepted["high"]).repeat(2, 0).repeat(2, 1)
        assert np.array_equal(of["pseudo"].high_label, accepted)


def test_a_control_trains_as_a_step_without_rounds_would(prepared, tmp_path):
    """The same first weights, order and draws: its teacher is the one of a campaign whose step learns from people alone."""
    alone = changed(prepared, teach="human")
    beside = changed(prepared, controls=["human-only"])
    weights = []
    for name, config, step in (("alone", alone, STEP), ("beside", beside, STEP + 1)):
        run = prepared.copy(tmp_path / name).run
        shutil.rmtree(labels_folder(run, 1))  # nobody is to read them
        phase = run / "phases" / f"09-{config.steps[step].name}"
        phase.mkdir(exist_ok=True)
        assert run_ranks(run, config, step, 1) == [0]
        weights.append(teacher_record(run, config.steps[step].name)["sha256"])
    assert weights[0] == weights[1]


def test_a_step_without_its_round_does_not_start(prepared, tmp_path):
    copy = prepared.copy(tmp_path)
    (labels_folder(copy.run, 1) / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json"):
        open_corpus(copy.config, STEP, copy.run)


def test_a_step_that_makes_its_teacher_worse_hands_on_the_one_it_started_from(prepared, tmp_path):
    """With `keep_better` the weights at the start are validated too: one step learns, the next one ruins what it learnt."""
    learnt = _trained(prepared.copy(tmp_path / "learn", warmup_steps=0), rate=0.02)
    assert teacher_record(learnt.run, "master-1")["step"] == 40
    good = learnt.phase / teacher_record(learnt.run, "master-1")["weights"]
    before = prepared.copy(tmp_path / "ruin", warmup_steps=0)
    base = before.run / "phases" / "02-base"
    shutil.copy(good, base / "teacher.pt")
    write_json(base / "teacher.json", {"weights": "teacher.pt", "sha256": sha256_file(base / "teacher.pt")})
    ruined = _trained(before, rate=30.0)
    record = teacher_record(ruined.run, "master-1")
    validations = [line for line in figures(ruined.phase) if line["kind"] == "val"]
    assert [line["step"] for line in validations] == [0, 40] and validations[0]["miou"] > validations[1]["miou"]
    assert record["step"] == 0 and record["miou"] == validations[0]["miou"]
    mine, first = (torch.load(path, weights_only=True) for path in (ruined.phase / record["weights"], good))
    assert all(torch.equal(mine[name], first[name]) for name in first)
    for run, told in ((learnt, 0), (ruined, 1)):
        events = read_json_lines(run.phase / "events.jsonl")
        assert sum(line["event"] == "kept-teacher" for line in events) == told


def _trained(copy: Prepared, rate: float) -> Prepared:
    """master-1 trained for 40 steps from the base's weights, on people's labels."""
    raw = copy.config.model_dump(mode="json")
    raw["steps"][STEP] |= {"model": raw["steps"][0]["model"], "start": "teacher", "keep_better": True, "teach": "human"}
    raw["steps"][STEP] |= {"lr": rate, "epochs": 20}
    assert run_ranks(copy.run, validate(raw, LearningConfig, "test"), STEP, 1) == [0]
    return copy


def test_a_step_with_fresh_weights_has_no_teacher_to_keep(prepared):
    with pytest.raises(UserError, match="keep_better needs start: teacher"):
        changed(prepared, keep_better=True)
