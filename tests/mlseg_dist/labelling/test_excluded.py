"""What people excluded is never labelled by a teacher: not in patches about it, and not in those that only reach into it."""

from pathlib import Path

import numpy as np
import pytest

from mlseg_core.files import read_json
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.views import filled_labels, joined_labels
from mlseg_dist.labelling.reliability import tissue_batches, unannotated
from mlseg_dist.run_folder import shards_folder
from shards.annotation import EXCLUDED_PX
from shards.manifest import read_seeds
from shards.sample import decode_label, encode_png
from shards.verify.corpus import verify_corpus
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.tiny_run import TinyRun
from tests.shards.slides_for_tests import shards_config, square_feature, write_annotation, write_corpus

BOX = (300, 250, 500, 520)
"""Level-0 px of what is excluded: part of the tumour, of stroma and of unannotated tissue."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    folder = tmp_path_factory.mktemp("excluded")
    table = write_corpus(folder / "slides", slides=4)
    for number in range(4):
        write_annotation(
            folder / f"slides/s{number}.geojson",
            square_feature("Stroma", 100, 100, 420, 700),
            square_feature("Tumor", 150, 150, 350, 350),
            square_feature("Exclude", *BOX),
            square_feature("DCIS", 450, 450, 650, 650),
        )
    classes = {**shards_config().annotation_classes, "Exclude": "excluded"}
    cut = {"annotation_classes": classes, "stride_um": 32.0, "tissue_stride_um": 32.0, "audit": {"quarantine": []}}
    return lively_run(folder, table=table, cut=cut)


def test_no_patch_is_taken_there_and_the_corpus_is_sound(run):
    corpus = Corpus(shards_folder(run.path), run.config.training_classes)
    assert EXCLUDED_PX not in read_seeds(corpus.folder, corpus.manifest)
    reaching = 0
    for ref in corpus.refs("train", "val", "test"):
        fine = decode_label(corpus.read(ref)["high.png"])
        middle = len(fine) // 2
        assert fine[middle, middle] != EXCLUDED_PX
        reaching += bool((fine == EXCLUDED_PX).any())
    assert reaching > 10, "patches beside it reach into it"
    assert not verify_corpus(corpus.folder, 1).damage


@pytest.mark.parametrize("stride", [1, 2])
def test_a_round_says_nothing_there(run, tmp_path: Path, stride: int):
    config = with_label(run.config, 1, threshold=0.0, stride=stride)
    make(run, config, tmp_path / "labels", 1)
    corpus = Corpus(shards_folder(run.path), config.training_classes, tmp_path / "labels")
    seen = dict.fromkeys(("high", "low"), 0)
    for ref in corpus.refs("train"):
        members, codes = corpus.read(ref), corpus.read_sidecar(ref)
        fine = {view: decode_label(members[f"{view}.png"]) for view in seen}
        taught = joined_labels(corpus, ref, fine)
        high = fine["high"] == EXCLUDED_PX
        cells = high.reshape(len(high) // stride, stride, -1, stride).any(axis=(1, 3))
        assert (decode_label(codes["high.png"])[cells] == IGNORED).all(), "of the view that decides what is accepted"
        for view, label in fine.items():
            excluded = label == EXCLUDED_PX
            assert (taught[view][excluded] == IGNORED).all(), (ref.key, view)
            seen[view] += int(excluded.sum())
    assert min(seen.values()) > 1000
    facts = read_json(tmp_path / "labels/manifest.json")["facts"]
    assert facts["rejected"] == 0, "what is excluded does not count as rejected"


def test_tissue_is_not_asked_about_there(run):
    corpus = Corpus(shards_folder(run.path), run.config.training_classes)
    refs = [ref for ref in unannotated(corpus) if (decode_label(corpus.read(ref)["high.png"]) == EXCLUDED_PX).any()]
    assert refs
    for ref in refs[:5]:
        [(_, _, off)] = tissue_batches(corpus, [ref], 1, 1)
        excluded = decode_label(corpus.read(ref)["high.png"]) == EXCLUDED_PX
        assert off["high"][0][excluded].all()


@pytest.mark.parametrize("people", [True, False])
def test_labels_that_speak_of_excluded_pixels_are_not_believed(people):
    """A sidecar that was made elsewhere, and a corpus whose people's labels are left out."""
    fine = {view: np.array([[0, EXCLUDED_PX], [255, 1]], np.uint8) for view in ("high", "low")}
    sidecar = {f"{view}.png": encode_png(np.full((2, 2), 41, np.uint8)) for view in fine}
    table = np.full(256, IGNORED, np.uint8)
    table[:2] = 0, 2
    accepted = np.full(256, IGNORED, np.uint8)
    accepted[41] = 1
    found = filled_labels(fine, sidecar, table, {view: accepted for view in fine}, people)
    expected = [[0, IGNORED], [1, 2]] if people else [[1, IGNORED], [1, 1]]
    assert all(found[view].tolist() == expected for view in fine)
    assert filled_labels(fine, None, table, {}, people)["high"].tolist() == [[0, IGNORED], [IGNORED, 2]]
