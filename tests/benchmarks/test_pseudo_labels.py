"""Rounds whose labels are known to be right, or wrong by a known share, get the figures that were put into them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.truth import open_truth, train_slides
from benchmarks.pseudo_labels import RoundScore, compact, has_truth, score
from benchmarks.pseudo_labels.__main__ import main
from launch.config import CampaignConfig, load_campaign
from launch.run_folder import RunFolder
from mlseg_core.config import dump_config
from mlseg_core.exactly_once.run import Scratch, Unit, run_units
from mlseg_core.files import read_json, write_json
from mlseg_dist import labelling
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.labels import LEVELS, VIEWS, Accepting
from mlseg_dist.data.once import centres_of, scales_of
from mlseg_dist.labelling.reliability import FILE, Reliability
from mlseg_dist.run_folder import labels_folder, mark_cleaned, shards_folder
from shards import cutting
from shards.annotation import Frame, read_annotation
from shards.cutting.cut import Cutter
from shards.phantom import draw, units, write_table
from shards.reader import open_slide
from shards.sample import decode_label, encode_json, encode_png
from shards.sampling import Seed
from shards.tar import NO_SEED, ShardReader, write_shard
from tests.launch.conftest import tiny_campaign

Say = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""Key, true fine classes and true training classes of a view -> the codes that a teacher gives there, before the stride."""
SURE, UNSURE = LEVELS - 1, 15
BACKGROUND, TUMOUR, OTHERS = range(3)


def right(_key: str, _fine: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A teacher that knows everything, and is sure of it."""
    return np.where(truth == IGNORED, IGNORED, truth.astype(int) * LEVELS + SURE)


@dataclass(frozen=True)
class Bench:
    """A phantom campaign that has been cut. truth: key -> view -> fine ids of the stored field, uint8 (S, S)."""

    run: Path
    config: CampaignConfig
    truth: dict[str, dict[str, np.ndarray]]

    @property
    def corpus(self) -> Corpus:
        return Corpus(shards_folder(self.run), self.config.training_classes)

    def label(self, say: Say, number: int = 1, **settings: object) -> Path:
        """Publish a round through the product's map, facts and merge."""
        steps = list(self.config.steps)
        label = steps[number - 1].label.model_copy(update={"sheet": 0, **settings})
        steps[number - 1] = steps[number - 1].model_copy(update={"label": label})
        config, folder = self.config.model_copy(update={"steps": tuple(steps)}), labels_folder(self.run, number)
        phase = self.run / "phases" / f"{number:02d}-{steps[number - 1].name}"
        phase.mkdir(parents=True, exist_ok=True)
        write_json(phase / "teacher.json", {"weights": "none", "sha256": str(id(say))})
        corpus = self.corpus

        def work(unit: Unit, scratch: Scratch) -> None:
            with ShardReader(shards_folder(self.run) / unit.payload[3], corpus.manifest.members) as shard:
                keys = [shard.key(row) for row in range(len(shard))]
            samples = [(key, self._sidecar(key, say, label.stride, corpus.training_class_of)) for key in keys]
            write_shard(scratch.open(unit.payload[4]), samples)

        assert not run_units(labelling.units(config, number - 1, self.run), work, folder, describe=labelling.describe)
        labelling.write_round(config, number - 1, self.run, folder)
        return folder

    def _sidecar(self, key: str, say: Say, stride: int, training_of: np.ndarray) -> dict[str, bytes]:
        members = {"json": encode_json({"version": 1, "of": key, "device": "cpu"})}
        for view, fine in self.truth[key].items():
            codes = say(key, fine, training_of[fine])[stride // 2 :: stride, stride // 2 :: stride]
            members[f"{view}.png"] = encode_png(codes.astype(np.uint8))
        return members

    def only(self) -> RoundScore:
        (found,) = score(self.run)
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    """Two train slides, one of which people annotated, and only half of what they could."""
    folder = tmp_path_factory.mktemp("bench")
    phantom = {"size_um": 2200, "mpp": 2, "train": 1, "val": 0, "test": 0, "dev_unseen": 0, "final_unseen": 0}
    groups = {"sources": ["DS1"], "scanners": ["Morphle"], "unannotated": 1}
    shards = {
        "high_mpp": 2,
        "low_mpp": 8,
        "store_px": 96,
        "max_per_class": 16,
        "tissue_stride_um": 128,
        "max_tissue": 50,
    }
    config = load_campaign(tiny_campaign(folder, phantom={**phantom, "groups": groups, "regions": 0.5}, shards=shards))
    run = RunFolder.of(config)
    run.path.mkdir(parents=True)
    dump_config(config, run.config_path)
    assert not run_units(units(config.phantom), draw, run.data / "slides")
    table = write_table(config.phantom, run.data / "slides")
    todo = cutting.units(config.shards, table)
    assert not run_units(todo, cutting.cut, shards_folder(run.path), describe=cutting.describe)
    cutting.write_manifest(config.shards, table, todo, shards_folder(run.path))
    return Bench(run.path, config, _cut_truth(run.path, config))


def _cut_truth(run: Path, config: CampaignConfig) -> dict[str, dict[str, np.ndarray]]:
    """As the cutter cuts the labels of each pair when the truth is what people annotated."""
    corpus = Corpus(shards_folder(run), config.training_classes)
    slides, refs, found = train_slides(run), corpus.refs("train"), {}
    assert len({ref.slide for ref in refs}) == 2
    for slug, slide in slides.items():
        with open_slide(slide, config.shards.high_mpp) as reader:
            annotation = read_annotation(slide.annotation, config.shards, Frame.of(reader))
            cutter = Cutter(config.shards, slide, reader, annotation)
            for ref in refs:
                if ref.slide == slug:
                    x, y = json.loads(corpus.read(ref, {"json"})["json"])["center"]
                    step = [config.shards.high_mpp / mpp for mpp in reader.mpp]
                    pair = cutter.pair(Seed(round(x / step[0]), round(y / step[1]), NO_SEED))
                    assert pair.key == ref.key
                    found[ref.key] = {"high": pair.high_label, "low": pair.low_label}
    return found


@pytest.fixture
def labels(bench):
    """The round's folder is empty before and after."""
    for number in (1, 2):
        for path in sorted(labels_folder(bench.run, number).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    return bench


def pixels_once(bench: Bench, view: str) -> dict[str, np.ndarray]:
    """Slide -> pixels of each true training class that some pair shows and nobody labelled, by painting them on one canvas."""
    corpus, side = bench.corpus, bench.config.shards.store_px
    refs = corpus.refs("train")
    canvases: dict[str, np.ndarray] = {}
    for ref, centre in zip(refs, centres_of(corpus, refs, scales_of(corpus, refs)), strict=True):
        row, column = (centre if view == "high" else centre // corpus.manifest.ratio) + side
        canvas = canvases.setdefault(ref.slide, np.full((2000, 2000), IGNORED, np.uint8))
        human = corpus.training_class_of[decode_label(corpus.read(ref, {f"{view}.png"})[f"{view}.png"])]
        truth = corpus.training_class_of[bench.truth[ref.key][view]]
        window = np.s_[row - side // 2 : row + side // 2, column - side // 2 : column + side // 2]
        canvas[window] = np.where(human == IGNORED, truth, IGNORED)
    return {slide: np.bincount(canvas.ravel(), minlength=256)[:3] for slide, canvas in canvases.items()}


def test_the_truth_of_a_pair_is_what_the_cutter_would_have_cut(bench):
    corpus, slides, side = bench.corpus, train_slides(bench.run), bench.config.shards.store_px
    refs = corpus.refs("train")
    centres = centres_of(corpus, refs, scales_of(corpus, refs))
    shown = set()
    for slug, slide in slides.items():
        with open_truth(slide, bench.config.shards) as truth:
            for ref, centre in zip(refs, centres.tolist(), strict=True):
                if ref.slide == slug:
                    for view in VIEWS:
                        fine = truth.view(view, tuple(centre), side)
                        np.testing.assert_array_equal(fine, bench.truth[ref.key][view])
                        shown |= set(np.unique(corpus.training_class_of[fine]))
    assert {BACKGROUND, TUMOUR, OTHERS, IGNORED} <= shown


def test_labels_that_equal_the_truth_are_right_everywhere_and_each_pixel_counts_once(labels):
    labels.label(right, stride=1)
    found = labels.only()
    assert (found.round, found.teacher, found.stride, found.expected) == (1, "base", 1, None)
    for view in VIEWS:
        once = pixels_once(labels, view)
        for group, part in (("known", "train-000"), ("other", "train-001")):
            (expected,) = (counts for slide, counts in once.items() if slide.startswith(part))
            assert found.truth(view, group).tolist() == expected.tolist() and expected.min() > 0
        for name, figures in found.figures(view).items():
            assert figures.precision == figures.recall == figures.share_taken == 1.0, (view, name)
            assert found.mistaken_for(view, name) == {}
        np.testing.assert_array_equal(found.confusion(view), np.diag(found.truth(view)))
    drawn = found.pairs_drawn()
    assert drawn.sum() > 20 and (drawn[:3, :3] == np.diag(np.diag(drawn)[:3])).all()
    corpus = Corpus(shards_folder(labels.run), labels.config.training_classes, labels_folder(labels.run, 1))
    of_pair = corpus.drawing_classes[corpus.numbers("train")]
    every = np.bincount(of_pair, minlength=256)[:3]
    other = [ref.slide.startswith("train-001") for ref in corpus.refs("train")]
    assert (found.pool["known"] + found.pool["other"]).tolist() == every.tolist() and every.all()
    assert found.pool["other"].tolist() == np.bincount(of_pair[other], minlength=256)[:3].tolist()


def test_a_known_share_of_wrong_labels_is_found_at_every_threshold(labels):
    """A quarter of the background is taken for others with a probability of .75 to .8."""
    random = np.random.default_rng(7)

    def say(key: str, fine: np.ndarray, truth: np.ndarray) -> np.ndarray:
        wrong = (truth == BACKGROUND) & (random.random(truth.shape) < 0.25)
        return np.where(wrong, OTHERS * LEVELS + UNSURE, right(key, fine, truth))

    labels.label(say, threshold=0.7)
    low = labels.only()
    for view in VIEWS:
        figures, confusion, truth = low.figures(view), low.confusion(view), low.truth(view)
        share = confusion[BACKGROUND, OTHERS] / truth[BACKGROUND]
        assert share == pytest.approx(0.25, abs=0.01)
        assert figures["background"].precision == 1.0 and figures["background"].share_taken == 1.0
        assert figures["background"].recall == pytest.approx(1 - share)
        assert figures["others"].precision == truth[OTHERS] / (truth[OTHERS] + confusion[BACKGROUND, OTHERS])
        assert figures["others"].recall == figures["tumour"].precision == 1.0
        assert sum(low.mistaken_for(view, "others").values()) == confusion[BACKGROUND, OTHERS]
        at = low.at_each_level(view)
        assert (at[: UNSURE + 1] == confusion).all() and (at[UNSURE + 1 :] == np.diag(np.diag(confusion))).all()
    drawn = low.pairs_drawn()
    assert 0.1 < drawn[BACKGROUND, OTHERS] / drawn[BACKGROUND].sum() < 0.45 and drawn[BACKGROUND, TUMOUR] == 0
    write_threshold(labels.run, 0.8)
    high = labels.only()
    for view in VIEWS:
        np.testing.assert_array_equal(
            high.confusion(view), low.confusion(view, accepting=Accepting.from_threshold(0.8))
        )
        assert high.figures(view)["others"].precision == 1.0 and high.figures(view)["background"].share_taken < 0.76


def write_threshold(run: Path, threshold: float, **low: float | None) -> None:
    """Into the round's manifest. low: of some classes of the low view."""
    path = labels_folder(run, 1) / "manifest.json"
    manifest = read_json(path)
    accepting = Accepting.from_threshold(threshold).to_json()
    manifest["facts"]["accepting"] = accepting | {"low": accepting["low"] | low}
    write_json(path, manifest)


def test_each_class_and_view_has_the_threshold_that_the_manifest_says(labels):
    labels.label(right)
    write_threshold(labels.run, 0.9, tumour=None)
    found = labels.only()
    assert found.figures("low")["tumour"].accepted == 0 and found.figures("low")["tumour"].precision is None
    assert found.figures("low")["tumour"].truth > 0 and found.figures("low")["others"].recall == 1.0
    assert found.figures("high")["tumour"].recall == 1.0


def test_mistakes_are_told_by_fine_class_and_by_what_people_knew(labels, capsys):
    """DCIS is taken for tumour, on the slide of another lab and scanner only; nothing is said of half of its tumour."""
    dcis = labels.corpus.manifest.classes.index("dcis")

    def say(key: str, fine: np.ndarray, truth: np.ndarray) -> np.ndarray:
        codes = right(key, fine, truth)
        if key.startswith("train-001"):
            codes[fine == dcis] = TUMOUR * LEVELS + SURE
            codes[(fine != dcis) & (truth == TUMOUR) & (np.arange(len(fine)) % 4 < 2)[:, None]] = IGNORED
        return codes

    folder = labels.label(say)
    reliability = Reliability.empty()
    for view in VIEWS:
        reliability.val[view][:] = np.eye(3, dtype=np.int64)[..., None] * np.eye(LEVELS, dtype=np.int64)[SURE] * 100
        reliability.val[view][OTHERS, TUMOUR, UNSURE] = 100
    write_json(folder / FILE, reliability.to_json())
    found = labels.only()
    for view in VIEWS:
        known, other = found.figures(view, "known"), found.figures(view, "other")
        assert all(figures.precision == figures.recall == 1.0 for figures in known.values())
        wrong = found.mistaken_for(view, "tumour")
        assert wrong.keys() == {"dcis"} and wrong["dcis"] == other["tumour"].accepted - other["tumour"].right > 0
        assert found.mistaken_for(view, "tumour", "known") == {}
        assert 0.3 < other["tumour"].share_taken < 0.7 and other["others"].share_taken == 1.0
    assert found.expected["precision"]["high"]["tumour"] == 0.5
    assert found.expected_at["high"]["tumour"][UNSURE + 1] == 1.0
    _the_report_says_it(labels, found, capsys)


def _the_report_says_it(bench: Bench, found: RoundScore, capsys) -> None:
    out = bench.run.parent / "scores.json"
    assert main([str(bench.run), "--out", str(out), "--thresholds"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "accepted as tumour, in truth: dcis" in said and "Round 1, labelled by base" in said
    (written,) = read_json(out)["rounds"]
    assert written["views"]["high"]["other"]["classes"]["tumour"] == found.figures("high", "other")["tumour"].to_json()
    again = RoundScore.from_json(written)
    assert again.to_json() == written == found.to_json()
    (small,) = compact([again])
    figures = found.figures("low")["others"]
    assert small["low"]["others"] == [figures.accepted, figures.right, figures.truth]
    assert set(small) == {"round", "teacher", "stride", *VIEWS} and set(small["high"]) == set(CLASSES)
    assert main([str(bench.run), "--brief"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[-4:] == ["view", "tumour", "others", "background"] and max(map(len, [head, *lines])) <= 80
    for line, view in zip(lines, VIEWS, strict=False):
        cell = line.split()[-3:][1]
        right, recall = (float(share) for share in cell.split("/"))
        figures = found.figures(view)["others"]
        assert right == pytest.approx(figures.precision, abs=1e-3) and recall == pytest.approx(figures.recall, abs=1e-3)


def test_a_run_may_be_unfinished_and_have_been_cleaned(labels, capsys):
    assert score(labels.run) == [] and main([str(labels.run)]) == 2
    assert "no round of labels is there" in capsys.readouterr().err
    labels.label(right, 1)
    mark_cleaned(labels.label(right, 2), 1, 1)
    (labels_folder(labels.run, 3)).mkdir(exist_ok=True)
    assert [found.round for found in score(labels.run)] == [1]


def test_a_run_without_truth_is_one_line(labels, capsys):
    table = labels.run / "data" / "slides" / "truth.csv"
    hidden = table.rename(table.with_name("hidden"))
    try:
        assert not has_truth(labels.run) and main([str(labels.run)]) == 2
    finally:
        hidden.rename(table)
    assert main([str(labels.run.parent / "nowhere")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "no whole truth" in said[0] and "not a run folder" in said[1]
