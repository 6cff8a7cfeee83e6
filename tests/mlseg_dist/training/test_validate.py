"""Validation counts each labelled pixel of its slides once, the same in any batches, on any ranks, with damage or without."""

import json
import multiprocessing
import os
import re
import shutil
import threading
from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from mlseg_core.config import validate as validated
from mlseg_core.files import write_json
from mlseg_dist.config import CLASSES, IGNORED, LearningConfig
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.data.views import centre_views
from mlseg_dist.device import settle_cpu
from mlseg_dist.evaluation import figures, patches
from mlseg_dist.evaluation.operating_point import best_threshold
from mlseg_dist.inference import normalise
from mlseg_dist.loss import class_sums, equations
from mlseg_dist.model import answering_view, build_model, output_head
from mlseg_dist.run_folder import shards_folder
from mlseg_dist.training.engine import World
from mlseg_dist.training.validate import validate
from mlseg_dist.training.validation_pairs import ValidationPairs
from tests.mlseg_dist.ranks import rank_environments
from tests.mlseg_dist.tiny_run import tiny_run
from tests.shards.tars import index_of

PX = 64  # all that is stored; the stride is 32 px
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settle_cpu(1)  # a network that has learnt nothing is full of subnormal numbers
    made = tiny_run(tmp_path_factory.mktemp("validate"))
    write_json(made.path / "config.json", with_train(made.config).model_dump(mode="json"))
    return made


@pytest.fixture
def copied(run, tmp_path):
    """A run folder to damage."""
    shutil.copytree(run.path / "data" / "shards", tmp_path / "run" / "data" / "shards")
    shutil.copy(run.path / "config.json", tmp_path / "run" / "config.json")
    return tmp_path / "run"


def with_train(config, **changes):
    return config.model_copy(update={"train": config.train.model_copy(update={"patch_px": PX, **changes})})


def opened(path, config, kind=Corpus):
    return kind(shards_folder(path), dict(config.training_classes))


def scored(model, path, config, world=ALONE):
    return validate(model, ValidationPairs(opened(path, config), config.train, world), config, world, lambda s: None)


class Colours(nn.Module):
    """Logits of a pixel depend on its colour alone, to the last bit: not on which batch it is in."""

    def forward(self, high, low):
        return {"high": (high * torch.tensor([1.5, -1.0, 0.25])[:, None, None] + 0.1).float()}


def on_the_slide(model, corpus, refs, view):
    """Truth and logits of every pixel that some patch shows, from the patch with the nearest centre; by painting them on a slide.

    The first of equally near ones wins. Returns uint8 (N,), float32 (N, 3).
    """
    scale = corpus.manifest.ratio if view == "low" else 1
    painted = {}
    for ref in refs:
        views = centre_views(corpus, ref, PX)
        with torch.no_grad():
            logits = model(*(normalise(torch.from_numpy(x[None].copy())) for x in (views.high, views.low)))
        answer = logits[output_head(logits)][0].numpy()
        info = json.loads(corpus.read(ref, {"json"})["json"])
        x, y = (
            round(at * mpp / info["high_mpp"]) // scale for at, mpp in zip(info["center"], info["mpp0"], strict=True)
        )
        nearest, truth, best = painted.setdefault(
            ref.slide, (np.full((800, 800), np.inf), np.full((800, 800), IGNORED), np.zeros((3, 800, 800), np.float32))
        )
        part = np.s_[y + 100 : y + 100 + PX, x + 100 : x + 100 + PX]
        side = np.abs(np.arange(PX) + 0.5 - PX // 2)
        distance = np.maximum(side[:, None], side)
        closer = distance < nearest[part]
        nearest[part][closer] = distance[closer]
        label = getattr(views, f"{view}_label")
        both = np.isfinite(nearest[part]) & ~closer
        assert (truth[part][both] == label[both]).all(), "patches lie where they are taken to lie"
        truth[part][closer] = label[closer]
        best[:, part[0], part[1]][:, closer] = answer[:, closer]
    known = [slide[1] != IGNORED for slide in painted.values()]
    truth = np.concatenate([slide[1][k] for slide, k in zip(painted.values(), known, strict=True)]).astype(np.uint8)
    logits = np.concatenate([slide[2][:, k].T for slide, k in zip(painted.values(), known, strict=True)])
    return truth, logits


def expected_of(truth, logits):
    """Figures of pixels, as one image."""
    confusion = patches.confusions(truth[None, None], logits.argmax(1)[None, None].astype(np.uint8))[0]
    image = torch.from_numpy(logits.T.copy())[None, :, None].double()
    wce, wdl = equations(class_sums(image, torch.from_numpy(truth.copy())[None, None], 0.0, 0.0), torch.ones(3))
    found = figures.plain(confusion)
    return {name: found[name] for name in ("miou", "iou", "accuracy")}, (float(wce), float(wdl))


def network(run, kind):
    if kind == "colours":
        return Colours()
    step = run.config.steps[kind == "munet"].model
    model = build_model(step.model_copy(update={"view": "low"}) if kind == "low" else step, 4, 0.1, seed=2)
    return model.train()


@pytest.mark.parametrize("kind", ["colours", "high", "low", "munet"])
def test_figures_are_those_of_each_pixel_of_the_slide_once(run, kind):
    model, config = network(run, kind), with_train(run.config)
    found = scored(model, run.path, config)
    assert model.training
    model.eval()
    corpus = opened(run.path, config)
    refs = corpus.refs("val")
    truth, logits = on_the_slide(model, corpus, refs, answering_view(model))
    expected, losses = expected_of(truth, logits)
    assert found.pixels == len(truth) and found.not_finite == 0 and found.patches == len(refs)
    stored = sum(
        (getattr(centre_views(corpus, r, PX), f"{answering_view(model)}_label") != IGNORED).sum() for r in refs
    )
    assert stored > 1.5 * len(truth), "patches overlap"
    if kind == "colours":
        assert {name: found.figures[name] for name in expected} == expected
    assert found.figures["miou"] == pytest.approx(expected["miou"], abs=1e-3)
    assert (found.figures["wce"], found.figures["wdl"]) == pytest.approx(losses, rel=1e-5)
    assert found.operating_point["patients"] == 1 and found.operating_point["from"] == "validation"


def test_the_threshold_is_the_best_for_these_pixels(run):
    model, config = Colours(), with_train(run.config)
    truth, logits = on_the_slide(model, opened(run.path, config), opened(run.path, config).refs("val"), "high")
    p = torch.from_numpy(logits).softmax(1).numpy()
    answers = np.zeros((256, 3, 1001), np.int64)
    np.add.at(answers, (truth, p.argmax(1), np.floor(1000 * p.max(1)).astype(int)), 1)
    table = np.where(np.arange(256) < 3, np.arange(256), IGNORED)
    assert scored(model, run.path, config).operating_point["threshold"] == best_threshold(answers, table)


@pytest.mark.parametrize("quads", [1, 3, 16])
def test_any_batch_size_and_any_number_of_threads_gives_the_same(run, quads):
    whole = scored(Colours(), run.path, with_train(run.config))
    found = scored(Colours(), run.path, with_train(run.config, quads_per_micro_batch=quads, workers=3))
    assert asdict(found) | {"figures": 0} == asdict(whole) | {"figures": 0}
    assert {**found.figures, "wce": 0, "wdl": 0} == {**whole.figures, "wce": 0, "wdl": 0}
    for loss in ("wce", "wdl"):
        assert found.figures[loss] == pytest.approx(whole.figures[loss], rel=1e-9, abs=0)


def doubled(path):
    """Each shard a second time, under another name: the first right after itself, the others before all."""
    manifest = json.loads((shards_folder(path) / "manifest.json").read_text())
    copies = []
    for shard in manifest["shards"]:
        name = f"again-{shard['name']}"
        shutil.copy(shards_folder(path) / shard["name"], shards_folder(path) / name)
        copies.append({**shard, "name": name})
    write_json(
        shards_folder(path) / "manifest.json",
        {**manifest, "shards": [*copies[1:], manifest["shards"][0], copies[0], *manifest["shards"][1:]]},
    )


@pytest.mark.parametrize("kind", ["munet", "low"])
def test_storing_every_patch_twice_changes_no_digit(run, copied, kind):
    config = with_train(run.config)
    once = scored(network(run, kind), run.path, config)
    doubled(copied)
    assert len(opened(copied, config).refs("val")) == 2 * once.patches
    assert scored(network(run, kind), copied, config) == once


def test_of_a_part_of_the_pairs_each_pixel_counts_once_too(run):
    config = with_train(run.config, max_validation_samples=7)
    pairs = ValidationPairs(opened(run.path, config), config.train, ALONE)
    refs = opened(run.path, config).refs("val")
    assert pairs.once.refs == [refs[i] for i in np.linspace(0, len(refs) - 1, 7).round().astype(int)]
    found = scored(Colours(), run.path, config)
    assert found.pixels == len(on_the_slide(Colours(), opened(run.path, config), pairs.once.refs, "high")[0])


class Watched(Corpus):
    """Knows how many pairs' images are read, or being read."""

    begun = 0
    more = threading.Condition()

    def read(self, ref, wanted=None):
        if wanted and "high.jpg" in wanted:
            with self.more:
                self.begun += 1
                self.more.notify_all()
        return super().read(ref, wanted)


def test_the_next_batch_is_read_while_the_network_computes_this_one(run):
    config = with_train(run.config)
    corpus = opened(run.path, config, Watched)
    pairs = ValidationPairs(corpus, config.train, ALONE)
    seen = []

    def look(module, inputs):
        """Before each forward: wait until somebody reads beyond this batch."""
        seen.append(len(inputs[0]))
        with corpus.more:
            assert corpus.more.wait_for(lambda: corpus.begun >= min(sum(seen) + 1, len(pairs.once.refs)), timeout=10)

    model = network(run, "high")
    model.register_forward_pre_hook(look)
    stages = []
    validate(model, pairs, config, ALONE, stages.append)
    assert sum(seen) == len(pairs.once.refs) and len(seen) > 1
    assert stages == ["reduce"] + ["validate"] * (len(seen) + 1) + ["reduce"], "told before each wait"


def test_a_patch_that_owns_no_labelled_pixel_is_neither_decoded_nor_predicted(run):
    """Tissue that training ignores: patches in the middle of it own nothing."""
    classes = {**run.config.training_classes, "stroma": 255, "fold": 255}
    config = with_train(run.config).model_copy(update={"training_classes": classes})
    corpus = opened(run.path, config, Watched)
    found = validate(Colours(), ValidationPairs(corpus, config.train, ALONE), config, ALONE, lambda stage: None)
    assert 0 < found.patches < len(corpus.refs("val")) and corpus.begun == found.patches
    assert found.pixels == len(on_the_slide(Colours(), corpus, corpus.refs("val"), "high")[0])


def damage(path, config, places=(3, 17)):
    """Flip a byte in the image of validation pairs; returns their numbers and keys."""
    corpus = opened(path, config)
    refs, numbers = corpus.refs("val"), corpus.numbers("val")
    for place in places:
        shard = corpus.folder / corpus.manifest.shards[refs[place].shard].name
        row = index_of(shard)[refs[place].row]
        data = bytearray(shard.read_bytes())
        data[int(row["offset"][0]) + int(row["size"][0]) // 2] ^= 1
        shard.write_bytes(data)
    return [int(numbers[place]) for place in places], [refs[place].key for place in places]


def test_a_pair_that_cannot_be_read_ends_it_is_named_and_leaves_no_thread(run, copied):
    config = with_train(run.config, workers=2)
    _, keys = damage(copied, config, (17,))
    with pytest.raises(BadPair, match=rf"b-.*\.tar: {re.escape(keys[0])}\.high\.jpg is damaged"):
        scored(Colours(), copied, config)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("once")]
    for shard in shards_folder(copied).glob("b-*.tar"):
        shard.unlink()
    with pytest.raises(BadPair, match=r"b-.*\.tar: cannot be read \(No such file or directory\) \(pair in row 0\)"):
        ValidationPairs(opened(copied, config), config.train, ALONE)


def test_damaged_pairs_are_left_out_told_once_and_their_pixels_scored_where_others_show_them(run, copied):
    config = with_train(run.config, bad_samples="exclude", max_excluded=0.1)
    numbers, keys = damage(copied, config)
    pairs = ValidationPairs(opened(copied, config), config.train, ALONE)
    first = validate(Colours(), pairs, config, ALONE, lambda stage: None)
    assert [(told["pair"], told["split"]) for told in first.excluded] == [(n, "val") for n in numbers]
    assert all(key in told["why"] for key, told in zip(keys, first.excluded, strict=True))
    again = validate(Colours(), pairs, config, ALONE, lambda stage: None)
    assert again.excluded == [] and again == first.__class__(**{**vars(first), "excluded": []})
    resumed = ValidationPairs(opened(copied, config), config.train, ALONE)
    resumed.exclusions.load(pairs.exclusions.pairs)
    assert validate(Colours(), resumed, config, ALONE, lambda stage: None) == again
    corpus = opened(run.path, config)
    sound = [ref for ref in corpus.refs("val") if ref.key not in keys]
    assert again.pixels == len(on_the_slide(Colours(), corpus, sound, "high")[0])
    strict = with_train(run.config, bad_samples="exclude", max_excluded=0.01)
    with pytest.raises(
        BadPair, match=r"2 of \d+ pairs for validation cannot be read, more than train\.max_excluded \(0\.01\)"
    ):
        scored(Colours(), copied, strict)


@pytest.mark.parametrize("spoilt", ["missing", "no key can be read"])
def test_a_shard_that_is_lost_is_left_out_where_its_pairs_are_few(run, copied, spoilt):
    """A second shard of the validation slide: all of its pairs are excluded."""
    config = with_train(run.config, bad_samples="exclude", max_excluded=0.5)
    doubled(copied)
    corpus = opened(copied, config)
    shard = next(path for path in shards_folder(copied).glob("again-b-*.tar"))
    if spoilt == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-2000])
    pairs = ValidationPairs(corpus, config.train, ALONE)
    found = validate(Colours(), pairs, config, ALONE, lambda stage: None)
    half = len(corpus.numbers("val")) // 2
    assert len(found.excluded) == half and all(shard.name in told["why"] for told in found.excluded)
    assert pairs.exclusions.pairs == [told["pair"] for told in found.excluded]
    assert found.figures == scored(Colours(), run.path, config).figures
    assert validate(Colours(), pairs, config, ALONE, lambda stage: None).excluded == []


class Broken(Colours):
    """Gives no number for the top rows of each patch."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, high, low):
        logits = super().forward(high, low)["high"].clone()
        logits[:, 1, : self.rows] = float("nan")
        logits[:, 2, : self.rows // 2] = float("inf")
        return {"high": logits}


@pytest.mark.parametrize(("rows", "can_be_best"), [(1, True), (24, False)])
def test_pixels_without_a_finite_answer_are_counted_and_not_scored(run, rows, can_be_best):
    config = with_train(run.config)
    found = scored(Broken(rows), run.path, config)
    corpus = opened(run.path, config)
    truth, logits = on_the_slide(Broken(rows), corpus, corpus.refs("val"), "high")
    finite = np.isfinite(logits).all(1)
    assert 0 < found.not_finite == (~finite).sum() and found.pixels == finite.sum()
    expected, losses = expected_of(truth[finite], logits[finite])
    assert {name: found.figures[name] for name in expected} == expected
    assert (found.figures["wce"], found.figures["wdl"]) == pytest.approx(losses, rel=1e-9)
    assert found.can_be_best == can_be_best == (found.not_finite <= 0.01 * len(truth))


def test_nothing_finite_has_no_loss_and_the_default_threshold(run):
    found = scored(Broken(PX), run.path, with_train(run.config))
    assert found.pixels == 0 and not found.can_be_best and found.figures["wce"] is None
    assert found.operating_point["from"] == "default" and set(found.figures["iou"]) == set(CLASSES)


def one_rank(place, path, out):
    os.environ.update(place)
    dist.init_process_group("gloo")
    config = validated(json.loads((path / "config.json").read_text()), LearningConfig, "test")
    world = World(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
    write_json(out / f"{world.rank}.json", asdict(scored(Broken(1), path, config, world)))
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_find_what_one_does(run, copied, tmp_path):
    """With damaged pairs that different ranks meet, and pixels that are not finite."""
    config = with_train(run.config, bad_samples="exclude", max_excluded=0.1, quads_per_micro_batch=1)
    write_json(copied / "config.json", config.model_dump(mode="json"))
    numbers, _ = damage(copied, config, (1, 5))  # of the first and of the second batch
    fork = multiprocessing.get_context("fork")  # importing everything again would take longer than the test
    ranks = [fork.Process(target=one_rank, args=(place, copied, tmp_path)) for place in rank_environments(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
    assert [process.exitcode for process in ranks] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second and [told["pair"] for told in first["excluded"]] == numbers
    alone = json.loads(json.dumps(asdict(scored(Broken(1), copied, config))))
    for loss in ("wce", "wdl"):
        assert first["figures"].pop(loss) == pytest.approx(alone["figures"].pop(loss), rel=1e-9, abs=0)
    assert first == alone
