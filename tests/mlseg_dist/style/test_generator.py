"""Generators: colours move to the target's, structure stays, both views agree, training resumes bit by bit."""

import json

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from mlseg_core.errors import Interrupted, UserError
from mlseg_core.files import sha256_file
from mlseg_dist.style import losses
from mlseg_dist.style.config import StyleConfig
from mlseg_dist.style.network import VIEWS, Discriminator, Generator, Modulated, Noise
from mlseg_dist.style.pairs import StylePair, generator_folder, pairs_of, plain, styles, wanted
from mlseg_dist.style.patches import Pool
from mlseg_dist.style.stylist import Stylist
from mlseg_dist.style.train import train_pair
from shards.manifest import read_manifest
from tests.mlseg_dist.style.two_scanners import SMALL, images, two_scanners

PAIR = StylePair("Philips", "Morphle")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return two_scanners(tmp_path_factory.mktemp("scanners"))


def changed(**values):
    return SMALL.model_copy(update=values)


def views_of(shards, style):
    """View -> uint8 (N, S, S, 3), of all pairs of a style."""
    manifest = read_manifest(shards / "manifest.json")
    of_style = styles(manifest, "scanner")[style]
    parts = {view: [images(shards / shard.name, manifest.members, view) for shard in of_style] for view in VIEWS}
    return {view: np.concatenate(part) for view, part in parts.items()}


def styled(stylist, views, variant=0):
    keys = [str(number) for number in range(len(views["high"]))]
    return stylist.style(*(torch.from_numpy(views[view]) for view in VIEWS), keys, variant)


def test_colours_come_three_quarters_of_the_way_and_structure_stays(shards, tmp_path):
    """After 200 steps, about 20 s of one thread."""
    train_pair(changed(steps=200, checkpoint_every=200), shards, tmp_path, PAIR, 3)
    own, theirs = (views_of(shards, style) for style in ("Philips", "Morphle"))
    made = styled(Stylist(tmp_path, PAIR, 3, False), own)
    for view in VIEWS:
        before, after, target = (x.reshape(-1, 3).mean(0) for x in (own[view], made[view].numpy(), theirs[view]))
        far, near = np.abs(before - target).mean(), np.abs(after - target).mean()
        assert far > 12, "grey levels: the scanners differ"
        assert near < far / 4, (view, before, after, target)
        assert made[f"{view} ssim"].mean() > 0.95 and made[f"{view} ssim"].min() > 0.9
    middle = slice(24, 40)  # of the low view: the field of the high one
    added = made["high"].float().mean((1, 2)) - torch.from_numpy(own["high"]).float().mean((1, 2))
    around = (made["low"].float() - torch.from_numpy(own["low"]).float())[:, middle, middle].mean((1, 2))
    assert (added - around).abs().mean() < 4, "grey levels: both views change alike"


def test_with_diversity_latents_differ_in_colour(shards, tmp_path):
    """After 60 steps, about 8 s of one thread. Without it a generator may ignore its latent where the target hardly varies."""
    own, spread = views_of(shards, "Philips"), {}
    for weight in (0.0, 1.0):
        config = changed(steps=60, checkpoint_every=60, diversity=weight)
        train_pair(config, shards, tmp_path / str(weight), PAIR, 3)
        made = [styled(Stylist(tmp_path / str(weight), PAIR, 3, False), own, variant) for variant in range(4)]
        means = torch.stack([one["high"].float().mean((1, 2)) for one in made])
        spread[weight] = means.std(0).mean().item()
        assert made[0]["high ssim"].mean() > 0.95
    assert spread[1.0] > 2 and spread[1.0] > 2 * spread[0.0], f"grey levels, of a patch's mean colour: {spread}"


def state_of(folder):
    return {name: sha256_file(path) for name, path in _files(folder).items()}


def _files(folder):
    return {path.name: path for path in sorted((folder / "checkpoints" / "step-00000006").glob("*.pt"))}


@pytest.mark.parametrize("bf16", [False, True])
def test_stopped_anywhere_and_started_again_it_ends_with_the_same_bytes(shards, tmp_path, bf16):
    whole = train_pair(SMALL, shards, tmp_path / "whole", PAIR, 3, bf16=bf16)
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="at step 2"):
        train_pair(SMALL, shards, tmp_path / "cut", PAIR, 3, bf16=bf16, stop=lambda: next(calls) == 1)
    folder = generator_folder(tmp_path / "cut", PAIR)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 4, "ssim": 0}) + "\n")  # of steps that were lost
    again = train_pair(SMALL, shards, tmp_path / "cut", PAIR, 3, bf16=bf16)
    other = generator_folder(tmp_path / "whole", PAIR)
    assert again == whole and sha256_file(folder / "generator.pt") == whole["sha256"]
    assert state_of(folder) == state_of(other) and len(state_of(folder)) == 5
    assert (folder / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


def test_a_finished_one_is_left_and_other_settings_are_refused(shards, tmp_path):
    made = train_pair(SMALL, shards, tmp_path, PAIR, 3)
    time = (generator_folder(tmp_path, PAIR) / "generator.pt").stat().st_mtime_ns
    assert train_pair(SMALL, shards, tmp_path, PAIR, 3) == made
    assert (generator_folder(tmp_path, PAIR) / "generator.pt").stat().st_mtime_ns == time
    for config, seed in ((changed(ssim=3.0), 3), (SMALL, 4), (changed(steps=5), 3)):
        with pytest.raises(UserError, match="other settings"):
            train_pair(config, shards, tmp_path, PAIR, seed)
    assert train_pair(changed(steps=7), shards, tmp_path, PAIR, 3)["sha256"] != made["sha256"], "it may go on"


def test_modulation_is_that_of_the_weights():
    """StyleGAN2's equations 1 and 3, written out sample by sample."""
    torch.manual_seed(0)
    layer, x, w = Modulated(5, 7, 4), torch.randn(3, 5, 8, 8), torch.randn(3, 4)
    noise = torch.randn(3, 1, 8, 8)
    made = layer(x, w, noise)
    for i in range(3):
        weight = layer.weight * layer.affine(w)[i][None, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        out = torch.nn.functional.conv2d(x[i : i + 1], weight, padding=1)
        out = out + noise[i] * layer.strength[:, None, None] + layer.bias[:, None, None]
        expected = torch.nn.functional.leaky_relu(out, 0.2) * 2**0.5
        assert torch.allclose(made[i], expected[0], atol=1e-4)


def test_the_generator_keeps_the_grid_and_hears_of_latent_noise_and_view():
    model = Generator(changed(crop_px=32), 1)
    with torch.no_grad():
        model.colour.weight.normal_()
        x, z = torch.rand(1, 3, 40, 24) * 2 - 1, torch.randn(2, 16)
        high, low = torch.tensor([0]), torch.tensor([1])
        one = model(x, z[:1], high, Noise([5], ["high"]))
        assert one.shape == x.shape
        assert torch.equal(one, model(x, z[:1], high, Noise([5], ["high"])))
        others = ((z[1:], high, 5), (z[:1], low, 5), (z[:1], high, 6))
        assert all((one - model(x, z_, v, Noise([s], ["high"]))).abs().max() > 1e-3 for z_, v, s in others)
        torch.manual_seed(1)
        assert torch.equal(Generator(SMALL, 1).stem.weight, model.stem.weight), "the first weights follow from the seed"


def test_ssim_is_the_published_one():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (1, 3, 48, 48)).astype(np.float32) / 127.5 - 1
    other = np.clip(one + rng.normal(0, 0.2, one.shape), -1, 1).astype(np.float32)
    grey = [losses.luminance(torch.from_numpy(x)).numpy()[0, 0] for x in (one, other)]
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    _, whole = structural_similarity(*grey, **options)
    found = losses.ssim(torch.from_numpy(one), torch.from_numpy(other))
    assert abs(float(found[0]) - whole[5:-5, 5:-5].mean()) < 1e-4
    assert float(losses.ssim(torch.from_numpy(one), torch.from_numpy(one))[0]) == pytest.approx(1)


def test_the_discriminator_sees_whether_a_batch_varies():
    critic = Discriminator(SMALL, 1)
    same = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
    other = torch.cat([same[:1], torch.rand(1, 3, 32, 32)])
    low = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        one, two = critic(torch.cat([same, low])), critic(torch.cat([other, low]))
        assert torch.equal(one[0], one[1]) and (one[0] - two[0]).abs().max() > 1e-4, "the same patch, in other company"
        assert torch.allclose(one[2:], two[2:], atol=1e-6), "views are looked at apart"


def test_r1_is_half_the_squared_gradient():
    real = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 8, 8, dtype=torch.float64)
    logits = (real * weights).sum((1, 2, 3))[:, None, None].expand(2, 4, 4)
    assert losses.r1(real, logits).item() == pytest.approx(weights.square().sum().item() / 2)
    critic = Discriminator(SMALL, 1)
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    assert critic(image).shape == (2, 8, 8)


def test_views_that_change_alike_do_not_disagree():
    high, low = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    assert losses.disagreement(high, high + 0.3, low, low + 0.3, 4).item() == pytest.approx(0, abs=1e-6)
    marked = low.clone()
    marked[..., 24:40, 24:40] += 0.5
    assert losses.disagreement(high, high + 0.3, low, marked, 4).item() == pytest.approx(0.2, abs=1e-5)


def test_crops_of_both_views_lie_about_one_point(shards):
    """A gradient over the slide: the middle of a high crop has the grey of the middle of its low crop."""
    manifest = read_manifest(shards / "manifest.json")
    pool = Pool(shards, manifest, styles(manifest, "scanner")["Philips"], 32)
    apart = []
    for number in range(24):
        high, low = pool.crop(np.random.default_rng(number))
        assert high.shape == low.shape == (32, 32, 3)
        small = high.reshape(8, 4, 8, 4, 3).mean((1, 3))
        apart.append([np.abs(small - low[12 + dy : 20 + dy, 12 + dx : 20 + dx]).mean() for dy, dx in SHIFTS])
    apart = np.array(apart)
    assert apart[:, 0].mean() < 12 and (apart[:, 1:].mean(0) > 1.5 * apart[:, 0].mean()).all()


SHIFTS = ((0, 0), (0, 4), (4, 0), (0, -4), (-4, 0))


def test_targets_of_a_shard_come_equally_often():
    pairs = [StylePair("Philips", target) for target in ("Morphle", "Optrascan", "Aperio", "Motic")]
    chosen = [pairs_of(f"slide-{number}.tar", pairs, 2) for number in range(400)]
    assert all(len(set(one)) == 2 for one in chosen)
    counts = [sum(pair in one for one in chosen) for pair in pairs]
    assert all(abs(count - 200) < 40 for count in counts), "four standard deviations"
    assert chosen[7] == pairs_of("slide-7.tar", pairs[::-1], 2) and set(pairs_of("a", pairs, None)) == set(pairs)


def test_pairs_of_a_corpus(shards):
    manifest = read_manifest(shards / "manifest.json")
    assert wanted(StyleConfig(), manifest) == [StylePair("Morphle", "Philips"), PAIR]
    assert wanted(StyleConfig(pairs=(("Philips", "Morphle"),)), manifest) == [PAIR]
    wrong = [
        (StyleConfig(by="source"), "but one source"),
        (StyleConfig(pairs=(("Philips", "Motic"),)), "no scanner 'Motic'"),
        (StyleConfig(pairs=(("Philips", "Philips"),)), "to itself"),
        (StyleConfig(pairs=()), "each once"),
    ]
    for config, said in wrong:
        with pytest.raises(UserError, match=said):
            wanted(config, manifest)
    assert all(shard.split == "train" for part in styles(manifest, "scanner").values() for shard in part)
    assert plain("Philips") == "Philips" and plain("3D/Histech") != plain("3D Histech") and len(plain("x" * 250)) < 60
