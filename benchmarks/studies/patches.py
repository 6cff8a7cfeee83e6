"""Counts of a network on stored patches: quick, and the same for all arms of a study. Where patches overlap, pixels count again."""

from collections.abc import Sequence

import numpy as np
import torch

from mlseg_core.progress import Progress
from mlseg_dist.data.centres import parts_of, read_centres
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.evaluation.counts import COUNT, confusions, decide, fine_counts
from mlseg_dist.whole_slide.network import SlideNetwork


def count_patches(
    network: SlideNetwork,
    corpus: Corpus,
    refs: Sequence[PairRef],
    *,
    patch_px: int,
    batch: int,
    threshold: float,
    progress: Progress,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Slug -> confusion (3, 3), and what was predicted on each fine class, (256, 3). px of the patches' centres."""
    slides: dict[str, np.ndarray] = {}
    fine = np.zeros((256, COUNT), np.int64)
    with read_centres(corpus, parts_of(refs, batch), patch_px, 1, pinned=torch.cuda.is_available()) as coming:
        for part, _ in coming:
            views = part.arrays()
            predicted = decide(network.answers(part.high, part.low).cpu().numpy(), threshold)
            for ref, matrix in zip(part.refs, confusions(views.high_label, predicted), strict=True):
                slides[ref.slide] = slides.get(ref.slide, 0) + matrix
            fine += fine_counts(views.high_fine, views.high_label, predicted)
            progress.advance(len(part.refs))
    return slides, fine
