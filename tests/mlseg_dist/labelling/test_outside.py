"""Of tiles smaller than the views a round labels the tile, and nothing around it, whatever the teacher says there.

The tiles are a pixel of level 0 a pixel of the high view, so that whole numbers tell what is outside.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import read_json, write_json
from mlseg_dist import labelling
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.views import joined_labels, stored_views
from mlseg_dist.labelling import sheet
from mlseg_dist.labelling.adapting import kept_teachers
from mlseg_dist.labelling.reliability import measure
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards import tiles
from shards.manifest import read_seeds
from shards.sample import decode_label, position_of
from shards.tiles_config import TilesConfig
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.tiny_run import TinyRun

WIDTH, HEIGHT, SIDE, RATIO = 101, 83, 64, 4
ANNOTATED = 60
"""Columns of a tile from the left; what is right of them nobody annotated."""


def imported(folder: Path) -> Path:
    """Four tiles of three patients as slides; returns their table."""
    for part in ("i", "m"):
        (folder / "tiles" / part).mkdir(parents=True)
    lines = ["name,who,split"]
    for number, split in enumerate(("train", "train", "val", "test")):
        random = np.random.default_rng(number)
        picture = random.integers(60, 190, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        picture[:, 20:40, 0] = 20
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:, :20], mask[:, 20:40], mask[:, 40:ANNOTATED] = 1, 2, 3
        cv2.imwrite(str(folder / f"tiles/i/t{number}.png"), picture)
        cv2.imwrite(str(folder / f"tiles/m/t{number}.png"), mask)
        lines.append(f"t{number},P{max(0, number - 1)},{split}")
    (folder / "tiles/manifest.csv").write_text("\n".join(lines) + "\n")
    config = TilesConfig(
        folder=folder / "tiles",
        images="i/{name}.png",
        masks="m/{name}.png",
        mpp=2.0,
        classes={"0": "Unsure", "1": "Tumor", "2": "DCIS", "3": "Stroma"},
        patient="{who}",
        split="{split}",
    )
    assert not run_units(tiles.units(config), tiles.draw, folder / "slides")
    return tiles.write_table(config, folder / "slides")


def tile_run(folder: Path) -> TinyRun:
    from tests.shards.slides_for_tests import shards_config

    classes = {**shards_config().annotation_classes, "Unsure": "ignored"}
    cut = {"annotation_classes": classes, "stride_um": 32.0, "tissue_stride_um": 32.0, "audit": {"quarantine": []}}
    return lively_run(folder, table=imported(folder), cut=cut)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    return tile_run(tmp_path_factory.mktemp("tiles"))


def accepts_all(run: TinyRun, step: int, **changes):
    return with_label(run.config, step, threshold=0.0, **changes)


def off_tile(key: str) -> dict[str, np.ndarray]:
    """View -> where the middle of a pixel lies off the tile, bool (SIDE, SIDE)."""
    x, y = position_of(key)
    found = {}
    for view, scale in (("high", 1), ("low", RATIO)):
        corner = [at // scale - SIDE // 2 for at in (x, y)]
        twice = [(2 * (first + np.arange(SIDE)) + 1) * scale for first in corner]  # of the middles, level-0 px
        columns, rows = ((at < 0) | (at >= 2 * length) for at, length in zip(twice, (WIDTH, HEIGHT), strict=True))
        found[view] = rows[:, None] | columns
    return found


@pytest.mark.parametrize("step", [0, 1], ids=["base", "master"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_round_labels_all_of_a_tile_and_nothing_around_it(run, tmp_path, step, stride):
    config, folder = accepts_all(run, step, stride=stride), tmp_path / "labels"
    make(run, config, folder, step)
    corpus = Corpus(shards_folder(run.path), config.training_classes, folder)
    refs, cells_inside = corpus.refs("train"), 0
    assert len(refs) > 20
    for ref in refs:
        off, codes = off_tile(ref.key), corpus.read_sidecar(ref)
        views = stored_views(corpus, ref)
        fine = {view: decode_label(corpus.read(ref)[f"{view}.png"]) for view in off}
        taught = joined_labels(corpus, ref, fine)
        assert np.array_equal(taught["low"], views.low_label)
        assert off["low"].any(), "the low view is wider than the tile"
        for view in off:
            assert (taught[view][off[view]] == IGNORED).all(), (ref.key, view)
        cells = {v: o.reshape(SIDE // stride, stride, -1, stride).any(axis=(1, 3)) for v, o in off.items()}
        high, low = (decode_label(codes[f"{view}.png"]) for view in ("high", "low"))
        assert np.array_equal(high == IGNORED, cells["high"])
        if step:  # the base sees the high view only
            assert np.array_equal(low == IGNORED, cells["low"])
        cells_inside += int((~cells["high"]).sum())
    facts = read_json(folder / "manifest.json")["facts"]
    assert sum(facts["accepted"].values()) == cells_inside and facts["rejected"] == 0, "of what lies on tiles"
    if stride == 1:
        assert sum(sum(c.values()) for c in facts["by_slide"].values()) == cells_inside


def test_tissue_is_asked_about_on_the_tile_alone(run):
    config = accepts_all(run, 1, measured_pairs=1000, stride=1)
    corpus = Corpus(shards_folder(run.path), config.training_classes)
    seeds = read_seeds(corpus.folder, corpus.manifest)
    refs = [ref for ref, seed in zip(corpus.refs("train", "val", "test"), seeds, strict=True) if seed == IGNORED]
    assert refs and {ref.split for ref in refs} == {"train"}
    found = measure(config, 1, run.path, kept_teachers(config, 1, run.path))
    for view, counted in found.tissue.items():
        assert counted.sum() == sum(int((~off_tile(ref.key)[view]).sum()) for ref in refs)


def test_the_contact_sheet_speaks_of_the_tile(run, tmp_path, monkeypatch):
    """Everything on the tile is accepted, so that is what the captions say."""
    captions, draw = [], sheet._sheet
    monkeypatch.setattr(
        sheet, "_sheet", lambda cells, *words: captions.extend(c for c, _ in cells) or draw(cells, *words)
    )
    make(run, accepts_all(run, 0, sheet=4), tmp_path)
    assert len(captions) == 4
    assert all("accepted 100% (low " in caption and caption.endswith("slide 100%") for caption in captions)


def test_a_corpus_of_an_earlier_version_is_labelled_as_before(tmp_path):
    """Its manifest does not say where slides end: units keep their names, and bytes are those that they were."""
    run = tile_run(tmp_path)
    path = shards_folder(run.path) / "manifest.json"
    config, known = accepts_all(run, 0), labelling.units(accepts_all(run, 0), 0, run.path)
    raw = json.loads(path.read_text())
    for slide in raw["slides"]:
        slide.pop("inside")
    write_json(path, raw)
    before = labelling.units(config, 0, run.path)
    assert all(a.inputs != b.inputs for a, b in zip(known, before, strict=True))
    folder = labels_folder(run.path, 1)
    make(run, config, folder)
    corpus = Corpus(shards_folder(run.path), config.training_classes, folder)
    for ref in corpus.refs("train"):
        assert (decode_label(corpus.read_sidecar(ref)["high.png"]) != IGNORED).all()
