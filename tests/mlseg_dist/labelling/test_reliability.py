"""What is measured of a teacher is what it would write and what people drew, each labelled pixel once."""

import numpy as np
import pytest

from mlseg_core.config import validate
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import read_json
from mlseg_dist.config import IGNORED, LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.labelling import label, prepare, reliability, units, write_round
from mlseg_dist.labelling.adapting import kept_teachers
from mlseg_dist.labelling.facts import describe
from mlseg_dist.labelling.reliability import FILE, measure, reliability_of
from mlseg_dist.labelling.work import accepting_of
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.sample import decode_label
from tests.mlseg_dist.tiny_run import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("reliability"))


def changed(run, **changes) -> LearningConfig:
    raw = run.config.model_dump(mode="json")
    raw["steps"][0]["label"] |= {"min_share_kept": 0.0, **changes}
    return validate(raw, LearningConfig, "test")


def test_every_labelled_pixel_of_validation_counts_once(run):
    config = changed(run, measured_pairs=1000, stride=1)
    found = measure(config, 0, run.path, kept_teachers(config, 0, run.path))
    corpus = Corpus(shards_folder(run.path), config.training_classes)
    # The painted slide's own labels, put together from the patches.
    at: dict[tuple[int, int], int] = {}
    for ref in corpus.refs("val"):
        fine = decode_label(corpus.read(ref)["high.png"])
        y, x = (int(part[1:]) for part in ref.key.split("+")[1:])
        top, left = (round(value / 1.0) - fine.shape[0] // 2 for value in (y, x))
        for row, column in np.argwhere(corpus.training_class_of[fine] != IGNORED).tolist():
            at[top + row, left + column] = int(corpus.training_class_of[fine[row, column]])
    counted = found.val["high"].sum((1, 2))
    assert counted.tolist() == np.bincount(list(at.values()), minlength=3).tolist()
    assert found.val["low"].sum() == 0, "the base has no low head"


def test_tissue_is_counted_as_it_would_be_labelled(run, monkeypatch):
    """The teacher's codes as the round writes them; here of all pairs, as on the painted slides every pair is annotated."""
    monkeypatch.setattr(reliability, "unannotated", lambda corpus: corpus.refs("train"))
    config = changed(run, measured_pairs=1000)
    folder = labels_folder(run.path, 1)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    prepare(config, 0, run.path)
    assert not run_units(units(config, 0, run.path), label, folder, describe=describe)
    write_round(config, 0, run.path, folder)
    corpus = Corpus(shards_folder(run.path), config.training_classes, folder)
    seen = sum(
        np.bincount(decode_label(corpus.read_sidecar(ref)["high.png"]).ravel(), minlength=256)[: 3 * labels.LEVELS]
        for ref in corpus.refs("train")
    )
    found = reliability_of(config, 0, run.path, lambda: pytest.fail("it was measured by prepare"))
    assert np.array_equal(found.tissue["high"].ravel(), seen)
    facts = read_json(folder / "manifest.json")["facts"]
    assert facts["accepting"] == accepting_of(config, 0, run.path).to_json()
    assert set(facts["expected"]) == {"shares", "precision", "recall"}


def test_another_teacher_or_question_is_measured_anew(run):
    config = changed(run, measured_pairs=8)
    teachers = kept_teachers(config, 0, run.path)
    reliability_of(config, 0, run.path, lambda: teachers)
    key = read_json(labels_folder(run.path, 1) / FILE)["key"]
    reliability_of(changed(run, measured_pairs=9), 0, run.path, lambda: teachers)
    assert read_json(labels_folder(run.path, 1) / FILE)["key"] != key
