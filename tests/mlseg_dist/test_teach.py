"""What a step learns from: people, the round of labels, or both; and the control that stands beside the campaign's ladder."""

import shutil

import numpy as np
import pytest

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_dist.config import IGNORED, LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.views import stored_views
from mlseg_dist.run_folder import labels_folder, teacher_record
from mlseg_dist.training.inputs import open_corpus
from shards.sample import decode_label
from tests.mlseg_dist.prepared_run import ONE_QUAD, STEP, Prepared, prepare
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
