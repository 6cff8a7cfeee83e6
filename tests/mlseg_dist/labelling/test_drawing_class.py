"""For which class a pair that nobody annotated is drawn."""

import numpy as np
import pytest

from mlseg_dist.config import IGNORED
from mlseg_dist.labelling.facts import drawing_class
from mlseg_dist.run_folder import shards_folder
from shards.manifest import Manifest, read_manifest, read_seeds
from shards.tar import NO_SEED
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.tiny_run import TinyRun

SIDE = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("drawing"))


@pytest.fixture(scope="module")
def corpus(run) -> Manifest:
    return read_manifest(shards_folder(run.path) / "manifest.json")


def view(tumour: int = 0, others: int = 0, centre: int = 0) -> np.ndarray:
    """Background with so many px of the rare classes at the top, and a class at its centre."""
    classes = np.zeros(SIDE * SIDE, np.uint8)
    classes[:tumour], classes[tumour : tumour + others] = 1, 2
    classes = classes.reshape(SIDE, SIDE)
    classes[SIDE // 2, SIDE // 2] = centre
    return classes


@pytest.mark.parametrize(
    ("classes", "rare", "wanted"),
    [
        (view(tumour=400), 0.0, 0),
        (view(tumour=80), 0.05, 1),
        (view(tumour=79), 0.05, 0),
        (view(others=80), 0.05, 2),
        (view(tumour=100, others=101), 0.05, 2),
        (view(tumour=101, others=100), 0.05, 1),
        (view(tumour=79, others=79), 0.05, 0),
        (view(tumour=79, centre=2), 0.05, 2),
        (view(others=90, centre=1), 0.05, 2),
        (np.full((SIDE, SIDE), IGNORED, np.uint8), 0.05, NO_SEED),
        (np.full((SIDE, SIDE), IGNORED, np.uint8), 0.0, NO_SEED),
    ],
)
def test_a_pair_is_drawn_for_the_rare_class_that_fills_enough_of_it(corpus, classes, rare, wanted):
    assert drawing_class(classes, corpus, rare) == wanted


def test_it_changes_for_what_pairs_are_drawn_and_no_label(run, tmp_path):
    found = {}
    for rare in (0.0, 0.02):
        folder = tmp_path / str(rare)
        tars = make(run, with_label(run.config, draw_rare=rare), folder)
        manifest = read_manifest(folder / "manifest.json")
        found[rare] = sorted(tars.values()), manifest.facts["accepted"], read_seeds(folder, manifest)
    plain, mined = found[0.0], found[0.02]
    assert plain[:2] == mined[:2], "sidecars are the same, byte for byte"
    changed = plain[2] != mined[2]
    assert changed.any() and set(mined[2][changed]) <= {1, 2}
