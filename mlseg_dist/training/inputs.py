"""What a step trains on: corpus with labels, order, micro-batches, number of steps."""

from dataclasses import dataclass
from pathlib import Path

import cv2

from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.batches import Batches
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import Order
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.labelling import check_round
from mlseg_dist.run_folder import labels_folder, shards_folder, styled_folder
from mlseg_dist.training.engine import World
from mlseg_dist.training.sharing import shared_by


@dataclass(frozen=True)
class Inputs:
    """steps: optimizer steps of the phase."""

    corpus: Corpus
    order: Order
    batches: Batches
    steps: int


def open_inputs(config: LearningConfig, step_index: int, run: Path, world: World) -> Inputs:
    """Raises UserError."""
    cv2.setNumThreads(1)  # threads share out samples, not the rows of one
    step, settings = config.steps[step_index], config.train
    at_once = shared_by(settings, config.loss, world.size).quads_per_micro_batch
    number = config.round_of(step_index)
    if number is not None:
        if world.rank == 0:
            check_round(config, number, run)
        world.wait_for_all()
    corpus = open_corpus(config, step_index, run)
    if corpus.styled is not None:
        if world.rank == 0:
            corpus.styled.check()
        world.wait_for_all()
    pools = corpus.pools()
    quads, micro_batches = settings.quads_per_micro_batch, settings.micro_batches_per_step
    order = Order(pools, config.seed, step.seed_name, quads, micro_batches, at_once)
    replace_bad = settings.bad_samples == "exclude"
    threads = threads_for(settings.workers)
    parts = (corpus, order, step.augment, settings.patch_px, threads, replace_bad)
    if settings.augment_on == "gpu":
        from mlseg_dist.augment.dali.batches import DaliBatches

        batches: Batches = DaliBatches(*parts, device_id=world.device.index or 0)
    else:
        batches = Batches(*parts, pinned=world.device.type == "cuda")
    return Inputs(corpus, order, batches, settings.total_steps(step.epochs, sum(pools.sizes)))


def open_corpus(config: LearningConfig, step_index: int, run: Path) -> Corpus:
    """The corpus, joined with labels that the step before made; for gan_style, styled views."""
    step, number = config.steps[step_index], config.round_of(step_index)
    labels = labels_folder(run, number) if number is not None else None
    styled = styled_folder(run) if reads_styled(step.augment) else None
    people = number is None or step.teach == "both"
    corpus = Corpus(shards_folder(run), config.training_classes, labels, styled, people=people)
    if config.train.cache_dir is not None:
        corpus.use_cache(config.train.cache_dir, round(config.train.cache_gb * 1e9))
    return corpus
