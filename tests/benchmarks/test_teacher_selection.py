"""The three ways of benchmarks.teacher_selection count the same pixels, and the network is right or wrong in the same places."""

import numpy as np
import pytest

from benchmarks.teacher_selection.ways import WAYS, Patches, count
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.model import build_model
from mlseg_dist.run_folder import shards_folder
from tests.mlseg_dist.tiny_run import tiny_run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("selection"))


@pytest.mark.parametrize("view", ["high", "low"])
@pytest.mark.parametrize("px", [32, 64])  # high patches of 32 px touch, those of 64 px and low ones overlap
def test_weights_of_one_over_coverage_add_up_to_each_pixel_once(tiny, view, px):
    corpus = Corpus(shards_folder(tiny.path), dict(tiny.config.training_classes))
    refs = corpus.refs("val")
    model = build_model(tiny.config.steps[0].model.model_copy(update={"view": view}), 4, 0.1, seed=0)
    found = count(model, Patches(corpus, refs, px), 16)
    every, once, weighted = (found.confusions[way].sum(axis=1) for way in WAYS)
    np.testing.assert_allclose(weighted, once, rtol=1e-9)
    assert found.patches == len(refs) and (every.sum() > 1.3 * once.sum()) == (px == 64 or view == "low")
