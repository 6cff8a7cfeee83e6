"""GAN style at reading: a draw takes both images from one styled sidecar, labels stay, any executor takes the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.augment import draw_parameters
from mlseg_dist.augment.style_ops import variant
from mlseg_dist.data.batches import Batches
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.data.order import Order
from mlseg_dist.data.styled import MEMBERS
from mlseg_dist.data.views import stored_views
from mlseg_dist.events import Events
from mlseg_dist.run_folder import phase_folder, shards_folder, styled_folder
from mlseg_dist.training import checkpoint
from mlseg_dist.training.inputs import open_corpus
from shards.manifest import Manifest, ShardEntry, read_manifest, totals, write_manifest_file
from shards.sample import encode_jpeg, encode_json
from shards.tar import ShardReader, size_and_index_sha256, write_shard
from tests.mlseg_dist.augment.scene import policy
from tests.mlseg_dist.ranks import run_ranks
from tests.mlseg_dist.tiny_run import tiny_run
from tests.shards.tars import index_of, rename_keys

LEVELS = {"Motic": 40, "Optrascan": 220}
"""Target -> grey level that every pixel of its styled views has."""
STYLED = policy("rotate", {"op": "gan_style", "p": 0.3})
DRAWS = 400


def make_styled(shards, folder):
    """A sidecar of flat grey for each (train shard, target)."""
    corpus, entries = read_manifest(shards / "manifest.json"), []
    folder.mkdir()
    for shard in corpus.of_splits("train"):
        with ShardReader(shards / shard.name, corpus.members) as reader:
            keys = [reader.key(row) for row in range(len(reader))]
        for target, level in LEVELS.items():
            side = int(corpus.views["store_px"])
            image = encode_jpeg(np.full((side, side, 3), level, np.uint8), 95)
            info = encode_json({"target": target})
            path = folder / f"{shard.name.removesuffix('.tar')}-{target}.tar"
            write_shard(path, [(key, {"high.jpg": image, "low.jpg": image, "json": info}) for key in keys])
            size, index_sha256 = size_and_index_sha256(path)
            entries.append(
                ShardEntry(
                    name=path.name,
                    bytes=size,
                    sha256=sha256_file(path),
                    index_sha256=index_sha256,
                    samples=len(keys),
                    slide=shard.slide,
                    split="train",
                    of=shard.name,
                )
            )
    parents = {"corpus": sha256_file(shards / "manifest.json")}
    manifest = Manifest(
        kind="styled",
        fingerprint="",
        members=MEMBERS,
        classes=corpus.classes,
        views=corpus.views,
        shards=tuple(entries),
        totals=totals(entries),
        parents=parents,
    )
    write_manifest_file(folder, manifest)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = tiny_run(tmp_path_factory.mktemp("styled"))
    make_styled(shards_folder(run.path), styled_folder(run.path))
    return run


@pytest.fixture
def run(made, tmp_path):
    """A copy to damage."""
    return type(made)(Path(shutil.copytree(made.path, tmp_path / "run")), made.config)


def opened(run):
    return Corpus(shards_folder(run.path), run.config.training_classes, None, styled_folder(run.path))


def batches_of(corpus, ops=STYLED, kind=Batches):
    return kind(corpus, Order(corpus.pools(), 3, "base", 1, 4), ops, 32, 1.0, 2)


def level(image):
    """Of a flat image; None: not flat."""
    return int(image[0, 0, 0]) if (image == image[0, 0, 0]).all() else None


def test_three_draws_in_ten_take_a_styled_variant_of_both_views_and_labels_stay(made):
    batches, plain = batches_of(opened(made)), batches_of(opened(made), policy("rotate"))
    taken = []
    for index in range(DRAWS):
        draw = batches.order.draw(index)
        one, other = batches.sample(draw), plain.sample(draw)
        assert np.array_equal(one.high_label, other.high_label) and np.array_equal(one.low_label, other.low_label)
        drawn = draw_parameters(STYLED, 3, "base", index).gan_style
        if drawn is None:
            assert np.array_equal(one.high, other.high) and np.array_equal(one.low, other.low)
        else:
            assert level(one.high) == level(one.low) == list(LEVELS.values())[variant(drawn, 2)]
            taken.append(level(one.high))
    # 400 draws with p = .3: 120 ± 9.2; of them half a target: ± 5.5. Four standard deviations.
    assert abs(len(taken) - 120) < 37 and all(abs(taken.count(n) - len(taken) / 2) < 22 for n in LEVELS.values())


def test_which_variant_follows_the_draws_number():
    assert [variant(drawn, 3) for drawn in (0.0, 0.333, 0.334, 0.667, 0.999999999999)] == [0, 0, 1, 2, 2]
    assert variant(0.7, 1) == 0


def test_dali_is_handed_the_bytes_that_the_cpu_decodes(made):
    pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")
    from mlseg_dist.augment.dali.batches import DaliBatches

    ours, theirs = batches_of(opened(made)), batches_of(opened(made), kind=DaliBatches)
    for a, b in zip(ours.stream(iter(range(12))), theirs.stream(iter(range(12))), strict=True):
        for view in ("high", "low"):
            one, other = getattr(a, view).numpy().astype(int), getattr(b, view).numpy()
            assert np.abs(one - other).mean(axis=(1, 2, 3)).max() < 1.5
            assert [level(x) is None for x in one] == [level(x) is None for x in other]


def test_a_shard_without_styled_views_keeps_its_own(run):
    corpus = opened(run)
    ref = corpus.ref(int(corpus.numbers("val")[0]))
    own, drawn = stored_views(corpus, ref), stored_views(corpus, ref, gan_style=0.1)
    assert np.array_equal(own.high, drawn.high) and np.array_equal(own.low, drawn.low)


def damage(folder, change):
    tree = json.loads((folder / "manifest.json").read_text())
    change(tree)
    (folder / "manifest.json").write_text(json.dumps(tree))


def of_val(tree):
    tree["shards"][0]["of"] = "another.tar"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree["parents"].update(corpus="0" * 64), "made for another corpus"),
        (lambda tree: tree["shards"].clear(), "no styled shard"),
        (lambda tree: tree.update(kind="labels"), "not a manifest of styled views"),
        (of_val, "does not hold the samples of a shard of the train split"),
        (None, "no styled views are there"),
    ],
)
def test_without_sound_styled_views_one_line_says_so_before_training(run, change, said):
    folder = styled_folder(run.path)
    if change is None:
        shutil.rmtree(folder)
    else:
        damage(folder, change)
    step = run.config.steps[0].model_copy(update={"augment": STYLED})
    config = run.config.model_copy(update={"steps": (step, *run.config.steps[1:])})
    with pytest.raises(UserError, match=said) as told:
        open_corpus(config, 0, run.path)
    assert "\n" not in str(told.value) and "mlseg style" in str(told.value)
    assert open_corpus(run.config, 0, run.path).styled is None, "a policy without the op asks for none"
    with pytest.raises(UserError, match="no styled views"):
        batches_of(Corpus(shards_folder(run.path), run.config.training_classes))


def test_files_that_are_not_the_manifests_are_told(run):
    entry = opened(run).styled.manifest.shards[1]
    opened(run).styled.check()
    path = styled_folder(run.path) / entry.name
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(UserError, match=f"{entry.name} has"):
        opened(run).styled.check()


@pytest.mark.parametrize("what", ["byte", "keys"])
def test_a_damaged_styled_sample_is_told_with_shard_and_key(run, what):
    corpus = opened(run)
    ref = corpus.ref(int(corpus.numbers("train")[3]))
    source = corpus.styled.source(corpus.manifest.shards[ref.shard].name, 0.9)
    index = index_of(source.path)
    if what == "byte":
        data = bytearray(source.path.read_bytes())
        data[int(index[ref.row]["offset"][MEMBERS.index("low.jpg")]) + 40] ^= 1
        source.path.write_bytes(data)
        with pytest.raises(BadPair, match=rf"{source.entry.name}.*low.jpg is damaged"):
            stored_views(corpus, ref, gan_style=0.9)
    else:
        corpus.open.forget(source.path)
        rename_keys(source.path, MEMBERS)
        with pytest.raises(UserError, match=f"styled sidecar row {ref.row}"):
            stored_views(corpus, ref, gan_style=0.9)
    assert level(stored_views(corpus, ref, gan_style=0.1).high) == LEVELS["Motic"], "the other variant is sound"


def test_a_styled_draw_reads_no_image_of_the_corpus(run):
    """Else a third of the reads would be in vain."""
    corpus = opened(run)
    ref = corpus.ref(int(corpus.numbers("train")[0]))
    path = corpus.folder / corpus.manifest.shards[ref.shard].name
    place = index_of(path)[ref.row]
    data = bytearray(path.read_bytes())
    data[int(place["offset"][corpus.manifest.members.index("high.jpg")]) + 40] ^= 1
    path.write_bytes(data)
    assert level(stored_views(corpus, ref, gan_style=0.1).high) == LEVELS["Motic"]
    with pytest.raises(BadPair, match=r"high\.jpg is damaged"):
        stored_views(corpus, ref)


def trained(run, folder, ops, kills=()):
    """Four steps of the base on one rank; rank 0 is killed after so many of them. Returns its last weights."""
    run = type(run)(Path(shutil.copytree(run.path, folder)), run.config)
    train = {"quads_per_micro_batch": 1, "micro_batches_per_step": 2, "epoch_draws": 32, "warmup_steps": 1}
    train |= {"checkpoint_every": 2, "validations": 1, "threads": 1}
    config = run.config.model_copy(
        update={
            "train": run.config.train.model_copy(update=train),
            "steps": (run.config.steps[0].model_copy(update={"augment": ops}), *run.config.steps[1:]),
            "tracking": run.config.tracking.model_copy(update={"enabled": False}),
        }
    )
    phase = phase_folder(run.path, "base")
    shutil.rmtree(phase)
    phase.mkdir()
    for kill_at in kills:
        assert run_ranks(run.path, config, 0, 1, kill_at=kill_at) == [-9]
    assert run_ranks(run.path, config, 0, 1) == [0]
    path = checkpoint.newest(phase / "checkpoints", Events(phase).log)
    state, cursor = checkpoint.load(path)
    assert cursor["step"] == 4
    return state["model"], cursor["made_of"]


def test_training_reads_them_and_resumes_bit_by_bit(made, tmp_path):
    whole, made_of = trained(made, tmp_path / "whole", STYLED)
    assert made_of["styled"] == sha256_file(styled_folder(made.path) / "manifest.json")
    again, _ = trained(made, tmp_path / "again", STYLED, kills=(3,))
    assert all(torch.equal(again[name], weights) for name, weights in whole.items())
    plain, made_of = trained(made, tmp_path / "plain", policy("rotate"))
    assert "styled" not in made_of and any(not torch.equal(plain[name], weights) for name, weights in whole.items())
