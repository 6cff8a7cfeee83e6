"""A teacher adapted to a lab and scanner: statistics of its own tissue, classes as common as in tissue, once for all workers."""

import numpy as np
import pytest
import torch

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import read_json
from mlseg_dist.config import LabelConfig, LearningConfig
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.inference import load_teacher, normalise, teacher_weights
from mlseg_dist.labelling import adapting, label, prepare, reliability, units, write_round
from mlseg_dist.labelling.adapting import FILE, adaptation_of, aligned, domains_of, kept_teachers, weighted
from mlseg_dist.labelling.facts import describe
from mlseg_dist.labelling.reliability import tissue_batches
from mlseg_dist.model import build_model
from mlseg_dist.run_folder import labels_folder, shards_folder
from tests.mlseg_dist.tiny_run import tiny_run

DOMAIN = "DS1, Philips"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("adapting"))


@pytest.fixture(autouse=True)
def every_pair_is_tissue(monkeypatch):
    """On the painted slides people annotated everything."""
    for module in (adapting, reliability):
        monkeypatch.setattr(module, "unannotated", lambda corpus: corpus.refs("train"))


def asked(run, step: int = 1, **changes) -> LearningConfig:
    raw = run.config.model_dump(mode="json")
    raw["steps"][step]["label"] |= {"min_share_kept": 0.0, "threshold": 0.0, **changes}
    return validate(raw, LearningConfig, "test")


@pytest.mark.parametrize("shares", [(0.96, 0.015, 0.025), (0.5, 0.3, 0.2)])
def test_weights_give_the_shares_that_were_asked_for(shares):
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, (20_000, 3)) + np.array([0.0, 1.5, 2.0])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    weights = aligned(p, np.array(shares))
    assert weighted(p, weights).mean(0) == pytest.approx(shares, abs=2e-3)
    assert weights[0] == 1 and (weights <= 1).all()


def test_no_class_is_made_up_where_there_is_less_of_it():
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (20_000, 3)) + np.array([6.0, 2.0, -6.0])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    weights = aligned(p, np.array([0.9, 0.02, 0.08]))
    assert weights[2] == 1 and weights[1] < 1
    assert weighted(p, weights).mean(0)[2] < 0.01


def test_statistics_lie_between_those_of_training_and_those_of_the_domain(run):
    corpus = Corpus(shards_folder(run.path), run.config.training_classes)
    refs = corpus.refs("train")
    model = build_model(run.config.steps[1].model, 4, 0.1)
    trained = teacher_weights(run.config, 1, run.path)
    model.load_state_dict(trained)
    first = next(name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm, seen = model.get_submodule(first), []
    hook = norm.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].detach().double().mean((0, 2, 3)).float())
    )
    model.eval()
    with torch.no_grad():
        for high, low, _ in tissue_batches(corpus, refs, 16, 2):
            model(normalise(high), normalise(low))
    hook.remove()
    expected = torch.stack(seen).mean(0)  # of the first norm: nothing before it depends on other norms
    name = f"{first}.running_mean"
    for part in (0.25, 1.0):
        config = asked(run, adapt=part, measured_pairs=1000)
        found = adapting._norms(config, 1, run.path, corpus, refs)
        assert torch.allclose(found[name], (1 - part) * trained[name] + part * expected, atol=1e-4)
        assert not torch.allclose(found[name], trained[name], atol=1e-3)
        assert set(found) == {key for key in trained if key.endswith(("running_mean", "running_var"))}


def test_a_weighted_teacher_says_what_it_is_sure_of_either_way(run):
    corpus = Corpus(shards_folder(run.path), run.config.training_classes)
    high, low, _ = next(tissue_batches(corpus, corpus.refs("train")[:3], 3, 2))
    plain = load_teacher(run.config, 1, run.path).probabilities(high, low)
    light = load_teacher(run.config, 1, run.path, weights={"merged": (1.0, 0.5, 0.1)}).probabilities(high, low)
    wanted = plain["merged"] * torch.tensor([1.0, 0.5, 0.1])[:, None, None]
    wanted = wanted / wanted.sum(1, keepdim=True)
    assert torch.allclose(light["merged"], torch.minimum(wanted, plain["merged"]), atol=1e-6)
    assert torch.equal(light["merged"][:, 0], plain["merged"][:, 0]), "background is no surer than it was"
    assert (light["merged"][:, 1:] < plain["merged"][:, 1:]).all()
    assert torch.equal(light["low"], plain["low"]) and torch.equal(light["high"], plain["high"])


def test_a_round_is_labelled_by_the_adapted_teacher(run):
    """Measured once, written down, and told in the round's manifest; slides of other domains get the teacher as it was trained."""
    config = asked(run, adapt=0.5, align="tissue", measured_pairs=12, sheet=0)
    folder = labels_folder(run.path, 2)
    prepare(config, 1, run.path)
    found, before = adaptation_of(config, 1, run.path), (folder / FILE).read_bytes()
    assert set(found.domains) == {DOMAIN}
    assert not run_units(units(config, 1, run.path), label, folder, describe=describe)
    write_round(config, 1, run.path, folder)
    assert (folder / FILE).read_bytes() == before
    adapted = read_json(folder / "manifest.json")["facts"]["adapted"]
    assert sum(adapted["shares"]) == pytest.approx(1) and set(adapted["weights"]) == {DOMAIN}
    teachers = kept_teachers(config, 1, run.path)
    slides = domains_of(run.manifest)
    by_domain = {slides[slug]: teachers.domain(slug) for slug in slides}
    assert by_domain == {DOMAIN: DOMAIN, "DS7, Motic": ""}
    corpus = Corpus(shards_folder(run.path), config.training_classes)
    high, low, _ = next(tissue_batches(corpus, corpus.refs("train")[:4], 4, 2))
    own, plain = (teachers.of(name).probabilities(high, low) for name in (DOMAIN, ""))
    assert not torch.allclose(own["merged"], plain["merged"], atol=1e-3)
    domain = found.domains[DOMAIN]
    again = load_teacher(config, 1, run.path, "none", domain.norms, domain.weights).probabilities(high, low)
    assert torch.equal(own["merged"], again["merged"])


def test_another_question_is_measured_anew(run):
    first = asked(run, adapt=0.5, measured_pairs=6)
    found = adaptation_of(first, 1, run.path)
    assert found.shares is None and found.domains[DOMAIN].weights == {}
    second = asked(run, adapt=0.25, measured_pairs=6)
    other = adaptation_of(second, 1, run.path)
    name = next(iter(found.domains[DOMAIN].norms))
    assert not torch.equal(other.domains[DOMAIN].norms[name], found.domains[DOMAIN].norms[name])


def test_half_the_strength_is_the_square_root_of_the_weights(run):
    full, half = (
        adaptation_of(asked(run, align="tissue", measured_pairs=6, **strength), 1, run.path).domains[DOMAIN].weights
        for strength in ({}, {"align_strength": 0.5})
    )
    assert full.keys() == half.keys() and any(min(weights) < 0.9 for weights in full.values())
    for head, weights in full.items():
        assert half[head] == pytest.approx([weight**0.5 for weight in weights])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_statistics_are_refused_and_measured_again_once_deleted(run, damage):
    config = asked(run, adapt=0.5, measured_pairs=5)
    before = adaptation_of(config, 1, run.path)
    path = labels_folder(run.path, 2) / FILE
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes({"flip": flipped, "cut": whole[:-1], "empty": b""}[damage])
    with pytest.raises(UserError, match=r"domains\.pt.*are damaged.*Delete this file"):
        adaptation_of(config, 1, run.path)
    path.unlink()
    adaptation_of(config, 1, run.path)
    assert path.read_bytes() == whole and before.domains


def test_tissue_without_any_says_how_to_go_on(run, monkeypatch):
    for module in (adapting, reliability):
        monkeypatch.setattr(module, "unannotated", lambda corpus: [])
    with pytest.raises(UserError, match="cannot be estimated"):
        adaptation_of(asked(run, align="tissue", measured_pairs=7), 1, run.path)


def test_earlier_configs_say_nothing_of_it():
    plain = LabelConfig(threshold=0.9)
    assert not {"adapt", "align", "align_strength"} & set(plain.model_dump(mode="json")) and not plain.adapts
    assert "measured_pairs" not in plain.decides()
    assert {"adapt", "measured_pairs"} <= set(LabelConfig(threshold=0.9, adapt=0.5, measured_pairs=64).decides())
    with pytest.raises(UserError, match="measured_pairs must be above 0"):
        validate({"threshold": 0.9, "align": "tissue", "measured_pairs": 0}, LabelConfig, "test")
    with pytest.raises(UserError, match="align_strength without align"):
        validate({"threshold": 0.9, "align_strength": 0.5}, LabelConfig, "test")
