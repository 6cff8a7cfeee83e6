"""Validation reads ahead while the network computes, and its figures are bit for bit those of one batch after another."""

import re
import threading

import numpy as np
import pytest
import torch

from mlseg_dist.config import CLASSES
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.data.views import centre_views
from mlseg_dist.device import settle_cpu
from mlseg_dist.inference import normalise
from mlseg_dist.loss import centre, head_loss
from mlseg_dist.model import build_model, output_head, view_of
from mlseg_dist.run_folder import shards_folder
from mlseg_dist.training.engine import World
from mlseg_dist.training.validate import count, figures, validate, validation_refs
from tests.mlseg_dist.tiny_run import tiny_run

PX = 32
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settle_cpu(1)  # a network that has learnt nothing is full of subnormal numbers
    return tiny_run(tmp_path_factory.mktemp("validate"))


def opened(run, kind=Corpus):
    return kind(shards_folder(run.path), dict(run.config.training_classes))


def of_threads(run, workers):
    return run.config.model_copy(update={"train": run.config.train.model_copy(update={"workers": workers})})


def one_after_another(model, corpus, refs, batch):
    """The same figures without threads: decode, stack, compute, add up."""
    confusion, losses = torch.zeros(3, 3, dtype=torch.int64), torch.zeros(3, dtype=torch.float64)
    model.eval()
    for first in range(0, len(refs), batch):
        views = [centre_views(corpus, ref, PX) for ref in refs[first : first + batch]]
        high, low = (torch.from_numpy(np.stack([getattr(v, name) for v in views])) for name in ("high", "low"))
        with torch.no_grad():
            logits = model(normalise(high), normalise(low))
        head = output_head(logits)
        target = torch.from_numpy(np.stack([getattr(v, f"{view_of(head)}_label") for v in views]))
        wce, wdl = head_loss(logits[head], target, torch.ones(len(CLASSES)))
        losses += torch.tensor([float(wce), float(wdl), 1.0], dtype=torch.float64)
        confusion += count(logits[head].argmax(1), centre(target, logits[head]))
    return figures(confusion.numpy()) | {
        "wce": float(losses[0] / losses[2]),
        "wdl": float(losses[1] / losses[2]),
    }


@pytest.mark.parametrize("step", [0, 1])
def test_figures_are_those_of_one_batch_after_another(run, step):
    corpus = opened(run)
    refs = validation_refs(corpus, 43)
    assert len(refs) % 16, "the last batch is a smaller one"
    model = build_model(run.config.steps[step].model, 4, 0.1, seed=step)
    model.train()
    found = [validate(model, corpus, refs, of_threads(run, n), ALONE, lambda stage: None) for n in (1, 4, "auto")]
    assert model.training
    expected = one_after_another(model, corpus, refs, 16)
    assert found == [expected] * 3 and expected["wce"] > 0


class Watched(Corpus):
    """Knows how many pairs are read, or being read."""

    begun = 0
    more = threading.Condition()

    def read(self, ref):
        with self.more:
            self.begun += 1
            self.more.notify_all()
        return super().read(ref)


def test_the_next_batch_is_read_while_the_network_computes_this_one(run):
    corpus = opened(run, Watched)
    refs = validation_refs(corpus, None)
    seen = []

    def look(module, inputs):
        """Before each forward: wait until somebody reads beyond this batch."""
        seen.append(len(inputs[0]))
        with corpus.more:
            assert corpus.more.wait_for(lambda: corpus.begun >= min(sum(seen) + 1, len(refs)), timeout=10)

    model = build_model(run.config.steps[0].model, 4, 0.1, seed=0)
    model.register_forward_pre_hook(look)
    stages = []
    validate(model, corpus, refs, of_threads(run, 1), ALONE, stages.append)
    assert sum(seen) == len(refs) and len(seen) > 1
    assert stages == ["validate"] * (len(seen) + 1) + ["reduce"], "told before each wait"


def test_a_pair_that_cannot_be_read_ends_it_and_leaves_no_thread(run):
    class Damaged(Corpus):
        def read(self, ref):
            if ref.key == bad:
                raise BadPair(f"{ref.key} is damaged")
            return super().read(ref)

    corpus = opened(run, Damaged)
    refs = validation_refs(corpus, None)
    bad = refs[17].key
    model = build_model(run.config.steps[0].model, 4, 0.1, seed=0)
    with pytest.raises(BadPair, match=re.escape(f"{bad} is damaged")):
        validate(model, corpus, refs, of_threads(run, 2), ALONE, lambda stage: None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("centres")]
