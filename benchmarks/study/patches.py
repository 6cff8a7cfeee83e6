"""Counts of a network on stored patches: quick, and the same for all arms of a study. Where patches overlap, pixels count again."""

from collections.abc import Sequence

import numpy as np
import torch

from mlseg_core.progress import Progress
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.views import parts_of, read_centres
from mlseg_dist.evaluation.patches import confusions, decide
from mlseg_dist.evaluation.slide_counts import COUNT
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


def fine_counts(fine_BHW: np.ndarray, truth_BHW: np.ndarray, predicted_BHW: np.ndarray) -> np.ndarray:
    """What was predicted on each fine class, int64 (256, 3). Pixels without a truth or without an answer do not count."""
    known = (truth_BHW != IGNORED) & (predicted_BHW != IGNORED)
    cell = fine_BHW[known].astype(np.int64) * COUNT + predicted_BHW[known]
    return np.bincount(cell, minlength=256 * COUNT).astype(np.int64).reshape(256, COUNT)
