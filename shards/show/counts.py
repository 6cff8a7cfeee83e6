"""Slides, patients and samples by split, stain, scanner, source and class. In: the manifest. Out: plain sums."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from shards.manifest import Manifest, SlideEntry
from shards.slide_table import SPLITS

KINDS = ("stain", "scanner", "source")


@dataclass
class Group:
    """Sums over some slides. seeds, pixels: by fine class; pixels of the high view."""

    slides: int = 0
    patients: set[str] = field(default_factory=set)
    samples: int = 0
    seeds: Counter[str] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)

    @property
    def unannotated(self) -> int:
        """Samples whose seed lies on unannotated tissue."""
        return self.samples - sum(self.seeds.values())


def group(manifest: Manifest, belongs: Callable[[SlideEntry], bool] = lambda slide: True) -> Group:
    """Slides in quarantine do not count: they give nothing."""
    found = Group()
    slides = {slide.slug for slide in manifest.slides if belongs(slide) and not slide.quarantined}
    for slide in manifest.slides:
        if slide.slug in slides:
            found.slides += 1
            found.patients.add(slide.patient)
    for shard in manifest.shards:
        if shard.slide in slides:
            found.samples += shard.samples
            found.seeds.update(shard.seeds)
            found.pixels.update(shard.pixels)
    return found


def splits(manifest: Manifest) -> list[str]:
    """Splits that hold slides, in the usual order."""
    return [split for split in SPLITS if any(slide.split == split for slide in manifest.slides)]


def by_split(manifest: Manifest) -> dict[str, Group]:
    return {split: group(manifest, lambda slide, s=split: slide.split == s) for split in splits(manifest)}  # type: ignore[misc]


def values(manifest: Manifest, kind: str) -> list[str]:
    """Stains, scanners or sources, sorted."""
    return sorted({getattr(slide, kind) for slide in manifest.slides})


def classes(manifest: Manifest) -> list[str]:
    """Fine classes that occur, in the order of their ids."""
    whole = group(manifest)
    return [name for name in manifest.classes if whole.seeds[name] or whole.pixels[name]]
