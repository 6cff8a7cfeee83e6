"""A synthetic corpus of any size, with a round of labels: manifests and seeds as a build writes them.

Slides have one stain and scanner of 4 x 3, one to six shards, and a tissue mix of their own (Dirichlet): some hold hardly any
tumour. 30 percent of the pairs are not annotated; the round gives four fifths of these a class. There are no tars.
"""

from pathlib import Path

import numpy as np

from mlseg_core.files import sha256_file
from shards.manifest import Manifest, ShardEntry, SlideEntry, totals, write_manifest_file, write_seeds
from shards.sample import MEMBERS
from shards.tar import NO_SEED

TRAINING_CLASSES = {"stroma": 0, "tumour": 1, "duct": 2}
PAIR_BYTES, SIDECAR_BYTES = 200_000, 12_000
"""Members of a pair and of its sidecar, together: a dense corpus of 12 M pairs in 2 to 3 TB, labels at half resolution."""
_VIEWS = {"high_mpp": 0.5, "low_mpp": 2.0, "store_px": 768}
_LABEL_MEMBERS = ("high.png", "json", "low.png")
_SLIDES = 459
_UNANNOTATED, _ACCEPTED = 0.3, 0.8


def train_slide(slug: str, number: int) -> SlideEntry:
    """Number `number` of the train split, with one stain of four and one scanner of three."""
    return SlideEntry(
        slug=slug,
        slide=f"{slug}.svs",
        patient=f"P{number}",
        stain=f"stain{number % 4}",
        scanner=f"scanner{number % 3}",
        source="DS1",
        split="train",
    )


def write_corpus(folder: Path, pairs: int, shards: int) -> tuple[Path, Path]:
    """Folders of the corpus and of the round."""
    random = np.random.default_rng(0)
    slides = [train_slide(f"s{n:03d}", n) for n in range(min(_SLIDES, shards))]
    of_slide = np.sort(random.integers(0, len(slides), shards))
    mixes = random.dirichlet((1.5, 1.0, 0.5), len(slides))
    sizes = np.full(shards, pairs // shards)
    sizes[: pairs % shards] += 1
    parts, accepted, entries, sidecars = [], [], [], []
    corpus, labels = folder / "shards", folder / "labels"
    for path in (corpus, labels):
        path.mkdir(parents=True)
    for number, size in enumerate(sizes.tolist()):
        slide = slides[of_slide[number]]
        classes = random.choice(3, size, p=mixes[of_slide[number]]).astype(np.uint8)
        hidden = random.random(size) < _UNANNOTATED
        seeds = np.where(hidden, NO_SEED, classes).astype(np.uint8)
        name = f"{slide.slug}-{number:08x}-000.tar"
        facts = {"samples": size, "slide": slide.slug, "split": "train", "sha256": f"{number:064x}"}
        entries.append(ShardEntry(name=name, bytes=size * PAIR_BYTES, index_sha256="0" * 64, **facts))
        sidecar = name.replace(".tar", "-0a0a0a0a.tar")
        sidecars.append(ShardEntry(name=sidecar, bytes=size * SIDECAR_BYTES, index_sha256="0" * 64, of=name, **facts))
        parts.append(seeds)
        accepted.append(np.where(hidden & (random.random(size) < _ACCEPTED), classes, NO_SEED).astype(np.uint8))
    common = {"fingerprint": "0" * 64, "classes": tuple(TRAINING_CLASSES), "views": _VIEWS}
    write_manifest_file(
        corpus,
        Manifest(
            kind="corpus",
            members=MEMBERS,
            shards=tuple(entries),
            slides=tuple(slides),
            totals=totals(entries),
            facts={"seeds": write_seeds(corpus, np.concatenate(parts))},
            **common,
        ),
    )
    write_manifest_file(
        labels,
        Manifest(
            kind="labels",
            members=_LABEL_MEMBERS,
            shards=tuple(sidecars),
            totals=totals(sidecars),
            parents={"corpus": sha256_file(corpus / "manifest.json")},
            facts={"seeds": write_seeds(labels, np.concatenate(accepted)), "threshold": 0.9},
            **common,
        ),
    )
    return corpus, labels
