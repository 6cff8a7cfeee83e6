"""What the last teacher's encoder makes of a few hundred pairs, laid out in a plane: do stains, labs and scanners lie apart?

Features are the last map of each encoder, averaged over the centre of its view. Only their coordinates in the plane are kept, in
features.json beside evaluation.json: no pixels, and nothing that another evaluation needs. The same run gives the same coordinates
on the same kind of device.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlseg_core.files import write_json
from mlseg_core.randomness import generator, integer_seed
from mlseg_dist.config import FACTORS, LearningConfig
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.data.views import Centres, parts_of, read_centres
from mlseg_dist.evaluation.plan import Subject
from mlseg_dist.inference import Predictor, normalise
from mlseg_dist.model.encoder import Encoder
from mlseg_dist.run_folder import shards_folder, teacher_record
from shards.manifest import Manifest

FEATURES, VERSION = "features.json", 1
MOST_PAIRS = 300
FIELD_PX = 256
"""At most so much of each view's centre is looked at, px: what takes minutes on the whole of large views takes seconds."""
_NEIGHBOURS = 15


def write(subject: Subject, out: Path) -> bool:
    """Write out/features.json; False where the last step's network has no encoder of ours. Raises BadPair, UserError."""
    config, corpus_folder = subject.config, shards_folder(subject.run)
    step = subject.own_steps[-1]
    teacher = subject.predictor(config.steps.index(step))
    if not _encoders(teacher):
        return False
    corpus = Corpus(corpus_folder, dict(config.training_classes))
    refs = _refs(corpus, chosen(corpus.manifest, {"train", *config.evaluate.splits}, config.seed))
    if len(refs) < 3:
        return False
    with read_centres(
        corpus,
        parts_of(refs, config.evaluate.batch),
        config.train.patch_px,
        threads_for(config.train.workers),
        pinned=False,
    ) as coming:
        features = np.concatenate([_features(teacher, batch) for batch, _ in coming])
    planes = {"PCA": plane_by_pca(features)}
    umap = plane_by_umap(features, integer_seed(config.seed, "features") % 2**32)
    if umap is not None:
        planes["UMAP"] = umap
    write_json(
        out / FEATURES,
        {
            "version": VERSION,
            "step": step.name,
            "teacher": teacher_record(subject.run, step.name)["sha256"],
            "size": int(features.shape[1]),
            "explained": explained(features),
            "points": _points(subject.corpus, refs, config),
            "planes": {name: _rounded(plane) for name, plane in planes.items()},
        },
    )
    return True


def chosen(manifest: Manifest, splits: Collection[str], seed: int) -> dict[int, list[int]]:
    """Number of a shard -> rows in it: at most MOST_PAIRS, as many of each slide as there is room for, drawn by lot."""
    of_slide: dict[str, list[tuple[int, int]]] = {}
    for number, shard in enumerate(manifest.shards):
        if shard.split in splits and shard.samples:
            of_slide.setdefault(shard.slide, []).append((number, shard.samples))
    slides = sorted(of_slide)
    order = [slides[place] for place in generator(seed, "features").permutation(len(slides))]
    wanted, left = dict.fromkeys(order, 0), MOST_PAIRS
    room = {slug: sum(samples for _, samples in of_slide[slug]) for slug in order}
    while left and (open_ := [slug for slug in order if wanted[slug] < room[slug]]):
        for slug in open_[:left]:
            wanted[slug] += 1
        left -= len(open_[:left])
    found: dict[int, list[int]] = {}
    for slug in order:
        for place in sorted(generator(seed, "features", slug).choice(room[slug], wanted[slug], replace=False).tolist()):
            for number, samples in of_slide[slug]:
                if place < samples:
                    found.setdefault(number, []).append(place)
                    break
                place -= samples
    return dict(sorted(found.items()))


def _refs(corpus: Corpus, rows: Mapping[int, Sequence[int]]) -> list[PairRef]:
    """Reads the indices of these shards alone: a corpus may have thousands."""
    return [ref for ref in corpus.refs_in(rows) if ref.row in set(rows[ref.shard])]


def plane_by_pca(features: np.ndarray) -> np.ndarray:
    """(N, C) -> (N, 2): the two directions of most spread. The sign of each is such that its largest weight is positive."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = np.vstack([axes, np.zeros((2, axes.shape[1]))])[:2]
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    found: np.ndarray = centred @ (axes * signs[:, None]).T
    return found


def explained(features: np.ndarray) -> list[float]:
    """The parts of all spread that PCA's two directions have."""
    spread = np.linalg.svd(features.astype(np.float64) - features.mean(axis=0, dtype=np.float64), compute_uv=False) ** 2
    return [round(float(part), 6) for part in (spread / max(float(spread.sum()), 1e-30))[:2]]


def plane_by_umap(features: np.ndarray, seed: int) -> np.ndarray | None:
    """(N, C) -> (N, 2), or None without the extra `umap`."""
    try:
        import umap
    except ImportError:
        return None
    near = min(_NEIGHBOURS, len(features) - 1)
    made = umap.UMAP(n_components=2, n_neighbors=near, random_state=seed, n_jobs=1, init="pca")
    return np.asarray(made.fit_transform(features.astype(np.float32)), np.float64)


def _rounded(plane: np.ndarray) -> list[list[float]]:
    """The same, scaled so that the largest coordinate is 1: how large features are says nothing."""
    scale = max(float(np.abs(plane).max()), 1e-30)
    return [[round(float(x) / scale, 5) for x in row] for row in plane]


def _points(corpus: Manifest, refs: Sequence[PairRef], config: LearningConfig) -> list[dict[str, Any]]:
    """Who each pair is. unseen: factors whose value no train slide has."""
    slides = {slide.slug: slide for slide in corpus.slides}
    seen = {name: {getattr(s, name) for s in corpus.slides if s.split == "train"} for name in FACTORS}
    return [
        {
            "slide": ref.slide,
            "split": ref.split,
            **{name: getattr(slides[ref.slide], name) for name in FACTORS},
            "unseen": [name for name in FACTORS if getattr(slides[ref.slide], name) not in seen[name]],
        }
        for ref in refs
    ]


def _encoders(teacher: Predictor) -> dict[str, Encoder]:
    """By name; that of the low view has `low` in it, or the network sees that view alone."""
    return {name: module for name, module in teacher.model.named_modules() if isinstance(module, Encoder)}


@torch.inference_mode()
def _features(teacher: Predictor, batch: Centres) -> np.ndarray:
    """float32 (B, channels of all encoders)."""
    found = []
    for name, encoder in _encoders(teacher).items():
        is_low = "low" in name or getattr(teacher.model, "view", "high") == "low"
        images = _centre(batch.low if is_low else batch.high).to(teacher.device)
        with torch.autocast(teacher.device.type, torch.bfloat16, enabled=teacher.bf16):
            last = encoder(normalise(images))[-1]
        found.append(last.float().mean(dim=(2, 3)))
    return torch.cat(found, dim=1).cpu().numpy()


def _centre(images_BHWC: torch.Tensor) -> torch.Tensor:
    side = images_BHWC.shape[1]
    part = min(side, FIELD_PX)
    edge = (side - part) // 2
    return images_BHWC[:, edge : edge + part, edge : edge + part].contiguous()
