"""A teacher adapted to the labs and scanners that it labels.

In: a step's teacher, the train split's unannotated tissue. Out, for each domain (slides of one lab and scanner):

- BatchNorm's statistics, moved towards those that the domain's own tissue has (Schneider et al. 2020);
- weights of the classes, with which the teacher finds classes as common in the domain as they are estimated to be in tissue
  (distribution alignment, Berthelot et al. 2020); `align_strength` below 1 weakens them.

A network that was trained on 2 : 1 : 1 draws of regions that people chose takes too much plain tissue for tumour or others; the
less it knows the scanner, the more. As its probabilities are all near 1 there, no threshold helps. What is written of a pixel is
the less of both probabilities, with and without weights: a rare class has to be likely in tissue, and what was called a rare class
before is not called background now, but left open.
"""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import LabelConfig, LearningConfig
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.labels import heads_of_views
from mlseg_dist.inference import Predictor, kept_teacher, level_ratio, load_teacher, normalise, teacher_weights
from mlseg_dist.labelling.measured import measured_once, question
from mlseg_dist.labelling.reliability import measure, spaced, tissue_batches, unannotated
from mlseg_dist.labelling.thresholds import shares_of_tissue
from mlseg_dist.model import build_model
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.manifest import Manifest, kept_manifest

FILE = "domains.pt"
_ROUNDS = 200
_CELLS = 48
"""Cells of a pair's side whose probabilities are kept to find the weights by."""
_MOST_KEPT = 4
_DIGEST_BYTES = 32
"""SHA-256 of all that comes before, at the end of the file."""

Weights = dict[str, tuple[float, ...]]
"""Head -> weights of the classes."""


@dataclass(frozen=True)
class Domain:
    """norms: running statistics of BatchNorm, by their name in the network's state; {}: as trained. weights: {}: all are 1."""

    norms: dict[str, torch.Tensor] = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class Adaptation:
    """How a round's teacher is adapted to each domain. shares: how common the classes are in tissue; None: nobody asked."""

    domains: dict[str, Domain] = field(default_factory=dict)
    shares: tuple[float, ...] | None = None

    def facts(self) -> dict[str, Any] | None:
        """For the round's manifest: shares and weights; None where nothing was adapted."""
        if not self.domains:
            return None
        weights = {name: {h: list(w) for h, w in domain.weights.items()} for name, domain in self.domains.items()}
        return {"shares": None if self.shares is None else list(self.shares), "weights": weights}


def domains_of(corpus: Manifest) -> dict[str, str]:
    """Slug of a slide -> name of its domain: its lab (source) and scanner."""
    return {slide.slug: f"{slide.source}, {slide.scanner}" for slide in corpus.slides}


class Teachers:
    """A round's teacher for each slide. Domains that nothing was measured of get it as it was trained."""

    def __init__(
        self, config: LearningConfig, step_index: int, run: Path, adaptation: Adaptation, corpus: Manifest
    ) -> None:
        self._config, self._step, self._run, self._adaptation = config, step_index, run, adaptation
        self._domains = domains_of(corpus) if adaptation.domains else {}
        self._kept: OrderedDict[str, Predictor] = OrderedDict()

    def domain(self, slide: str) -> str:
        """Name of the domain that a slide belongs to. slide: its slug. "" where it gets the teacher as it was trained."""
        name = self._domains.get(slide, "")
        return name if name in self._adaptation.domains else ""

    def of(self, domain: str) -> Predictor:
        """The teacher of a domain, "" for the one that was trained; the last ones are kept. Raises UserError."""
        if domain not in self._kept:
            turns = self._config.steps[self._step].label.tta
            if domain:
                found = self._adaptation.domains[domain]
                teacher = load_teacher(self._config, self._step, self._run, turns, found.norms, found.weights)
            else:
                teacher = kept_teacher(self._config, self._step, self._run, turns)
            self._kept[domain] = teacher
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(domain)
        return self._kept[domain]


_teachers: dict[tuple[Path, str], Teachers] = {}


def kept_teachers(config: LearningConfig, step_index: int, run: Path) -> Teachers:
    """For a map's worker: settled once a process, by the teacher's weights and how it is asked. Raises UserError, BadPair."""
    key = (run.absolute(), question(config, step_index, run))
    if key not in _teachers:
        _teachers.clear()
        corpus = kept_manifest(shards_folder(run) / "manifest.json")
        _teachers[key] = Teachers(config, step_index, run, adaptation_of(config, step_index, run), corpus)
    return _teachers[key]


def adaptation_of(config: LearningConfig, step_index: int, run: Path) -> Adaptation:
    """As measured by whichever worker came first, else measured now. Raises UserError, BadPair."""
    settings = config.steps[step_index].label
    if not settings.adapts:
        return Adaptation()
    path, key = labels_folder(run, step_index + 1) / FILE, question(config, step_index, run)
    return measured_once(path, lambda: _read(path, key), lambda: _bytes(key, _measured(config, step_index, run)))


def _bytes(key: str, adaptation: Adaptation) -> bytes:
    found = {
        "key": key,
        "shares": None if adaptation.shares is None else list(adaptation.shares),
        "domains": {
            name: {"norms": domain.norms, "weights": {h: list(w) for h, w in domain.weights.items()}}
            for name, domain in adaptation.domains.items()
        },
    }
    stream = io.BytesIO()
    torch.save(found, stream)
    content = stream.getvalue()
    return content + hashlib.sha256(content).digest()


def _read(path: Path, key: str) -> Adaptation | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise UserError(
            "the statistics to which the round's teacher is adapted are damaged",
            path,
            "Delete this file: the next worker measures them again, and gets the same.",
        )
    found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    if found.get("key") != key:
        return None
    domains = {
        name: Domain(one["norms"], {head: tuple(w) for head, w in one["weights"].items()})
        for name, one in found["domains"].items()
    }
    return Adaptation(domains, None if found["shares"] is None else tuple(found["shares"]))


def _measured(config: LearningConfig, step_index: int, run: Path) -> Adaptation:
    """Raises UserError where the shares of tissue cannot be estimated."""
    settings = config.steps[step_index].label
    corpus = Corpus(shards_folder(run), config.training_classes)
    names = domains_of(corpus.manifest)
    tissue: dict[str, list[PairRef]] = {}
    for ref in unannotated(corpus):
        tissue.setdefault(names[ref.slide], []).append(ref)
    chosen = {
        name: [refs[i] for i in spaced(len(refs), settings.measured_pairs)] for name, refs in sorted(tissue.items())
    }
    domains = {name: Domain(_norms(config, step_index, run, corpus, refs)) for name, refs in chosen.items()}
    if settings.align == "none":
        return Adaptation(domains)
    known = {names[slide.slug] for slide in corpus.manifest.slides if slide.split == "val"} & chosen.keys()
    teachers = Teachers(config, step_index, run, Adaptation(domains), corpus.manifest)
    found = measure(config, step_index, run, teachers, lambda slide: not known or names[slide] in known)
    shares = shares_of_tissue(found)
    if shares is None:
        raise UserError(
            "the shares of the classes in tissue cannot be estimated: there is no unannotated tissue, or a class that the "
            "validation split does not have",
            f"steps.{config.steps[step_index].name}.label.align",
            "Set it to none, or annotate some of each class on validation slides.",
        )
    weighted = {
        name: Domain(domain.norms, _weights(teachers.of(name), corpus, chosen[name], settings, shares))
        for name, domain in domains.items()
    }
    return Adaptation(weighted, tuple(shares.tolist()))


def _norms(
    config: LearningConfig, step_index: int, run: Path, corpus: Corpus, refs: Sequence[PairRef]
) -> dict[str, torch.Tensor]:
    """BatchNorm's statistics: (1 - adapt) of training's and `adapt` of the pairs'."""
    step = config.steps[step_index]
    if not step.label.adapt or not refs:
        return {}
    state = teacher_weights(config, step_index, run)
    model = build_model(step.model, level_ratio(run), config.train.bn_momentum)
    model.load_state_dict(state)
    device = kept_teacher(config, step_index, run, step.label.tta).device
    model.eval().to(device)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
            module.train()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
        for high, low, _ in tissue_batches(corpus, refs, step.label.batch, step.label.stride):
            model(normalise(high.to(device)), normalise(low.to(device)))
    part = step.label.adapt
    return {
        name: (1 - part) * state[name] + part * value.cpu()
        for name, value in model.state_dict().items()
        if name.endswith(("running_mean", "running_var"))
    }


def _weights(
    teacher: Predictor, corpus: Corpus, refs: Sequence[PairRef], settings: LabelConfig, shares: np.ndarray
) -> Weights:
    """The weights of the classes for each head that speaks of a view."""
    kept: dict[str, list[np.ndarray]] = {}
    for high, low, off in tissue_batches(corpus, refs, settings.batch, settings.stride):
        answers = teacher.probabilities(high, low)
        for view, head in heads_of_views(answers).items():
            cells = F.avg_pool2d(answers[head], settings.stride)
            every = max(1, cells.shape[-1] // _CELLS)
            part = cells[:, :, ::every, ::every].permute(0, 2, 3, 1).cpu().numpy()[~off[view][:, ::every, ::every]]
            kept.setdefault(head, []).append(part.astype(np.float64))
    strength = settings.align_strength
    return {head: tuple((aligned(np.concatenate(parts), shares) ** strength).tolist()) for head, parts in kept.items()}


def aligned(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Weights (3,) with which the mean of the renormalised probabilities (N, 3) is `shares`; background's is 1.

    No other weight is above 1: where a domain has less of a class than tissue has elsewhere, none is made up.
    """
    weights = np.ones(len(shares))
    for _ in range(_ROUNDS):
        mean = weighted(probabilities, weights).mean(axis=0)
        weights = weights * (shares / np.maximum(mean, 1e-12)) ** 0.7
        weights = np.minimum(weights / weights[0], 1.0)
    return weights


def weighted(probabilities: np.ndarray, weights: Iterable[float]) -> np.ndarray:
    """Probabilities (N, 3), times the weights, renormalised."""
    found = probabilities * np.asarray(weights)
    result: np.ndarray = found / found.sum(axis=1, keepdims=True)
    return result
