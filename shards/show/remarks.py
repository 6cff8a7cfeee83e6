"""What a person should look at first. In: the corpus. Out: sentences, the serious ones first."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mlseg_core.html import percent
from shards.annotation.planes import OTHER_PLANE
from shards.show.counts import KINDS, Group, by_split, group, splits, values
from shards.show.sources import Corpus

_FAR_FACTOR, _FAR_SHARE = 3.0, 0.05
_DOMINANT = 0.4
_MOST_NAMED = 6


@dataclass(frozen=True)
class Remark:
    """serious: training or evaluation will suffer; else worth knowing."""

    serious: bool
    sentence: str


def remarks(corpus: Corpus) -> list[Remark]:
    """Serious ones first, else in the order of the checks."""
    found = [*_slides(corpus), *_classes(corpus), *_unseen(corpus), *_shares(corpus), *_dominance(corpus)]
    return sorted(found, key=lambda remark: not remark.serious)


def _slides(corpus: Corpus) -> Iterator[Remark]:
    manifest = corpus.manifest
    if corpus.quarantine:
        names = _some([bad.slide for bad in corpus.quarantine.values()])
        yield Remark(True, f"{_slides_of(len(corpus.quarantine))} in quarantine, without samples: {names}.")
    flagged = Counter(name for view in corpus.overviews.values() if view is not None for name in view.flags)
    if flagged:
        yield Remark(False, "Flagged slides: " + ", ".join(f"{count} {name}" for name, count in flagged.items()) + ".")
    laid = [view.laid for view in corpus.overviews.values() if view is not None and view.laid is not None]
    planes = [sum(n for kind, n in one.ignored.items() if kind.startswith(OTHER_PLANE)) for one in laid]
    if sum(planes):
        slides = _slides_of(sum(number > 0 for number in planes))
        said = f"Regions on other planes than the one that was taken are left out: {sum(planes):,} on {slides}."
        yield Remark(False, said)
    here = [slide for slide in manifest.slides if not slide.quarantined]
    empty = [slide.slide for slide in here if not corpus.samples_of(slide)]
    if empty:
        yield Remark(True, f"{_slides_of(len(empty))} without a single sample, yet not in quarantine: {_some(empty)}.")
    unseen = sum(corpus.overviews[slide.slug] is None for slide in here)
    if unseen:
        yield Remark(False, f"{_slides_of(unseen)} without an overview: the pictures below leave them out.")
    for split in ("val", "test"):
        patients = group(manifest, lambda slide, s=split: slide.split == s).patients  # type: ignore[misc]
        if len(patients) < 2:
            said = "no patient" if not patients else "a single patient"
            yield Remark(not patients, f"Split {split} has {said}: its figures will say little.")


def _classes(corpus: Corpus) -> Iterator[Remark]:
    by = by_split(corpus.manifest)
    train = by.get("train", Group())
    for split, found in by.items():
        absent = [name for name, _ in train.seeds.most_common() if not found.seeds[name]]
        if split != "train" and absent and found.slides:
            yield Remark(True, f"Split {split} has no sample of {_some(absent)}; train has.")
        new = [name for name, _ in found.seeds.most_common() if not train.seeds[name]]
        if new:
            yield Remark(True, f"Split {split} has samples of {_some(new)}; train has none.")


def _unseen(corpus: Corpus) -> Iterator[Remark]:
    """Stains, scanners and sources that are measured but not learnt, or learnt but not measured."""
    slides = [slide for slide in corpus.manifest.slides if not slide.quarantined]
    for kind in KINDS:
        alone = []
        for value in values(corpus.manifest, kind):
            where = [
                s for s in splits(corpus.manifest) if any(getattr(x, kind) == value and x.split == s for x in slides)
            ]
            if where == ["train"]:
                alone.append(value)
            elif "train" not in where and not all(split.endswith("-unseen") for split in where):
                yield Remark(True, f"{kind.capitalize()} {value} occurs only in {', '.join(where)}, not in train.")
        if alone:
            yield Remark(False, f"Only in train, so that nothing measures it: {kind} {_some(alone)}.")


def _shares(corpus: Corpus) -> Iterator[Remark]:
    by = by_split(corpus.manifest)
    train = by.get("train", Group())
    total = sum(train.pixels.values())
    for split, found in by.items():
        here = sum(found.pixels.values())
        for name in corpus.manifest.classes if split != "train" and total and here else ():
            one, other = train.pixels[name] / total, found.pixels[name] / here
            low, high = sorted((one, other))
            if low and high > _FAR_FACTOR * low and high - low > _FAR_SHARE:
                yield Remark(
                    False, f"{name} is {percent(one)} of the labelled pixels in train, {percent(other)} in {split}."
                )


def _dominance(corpus: Corpus) -> Iterator[Remark]:
    """One slide that gives most of a class."""
    manifest = corpus.manifest
    train = [shard for shard in manifest.shards if shard.split == "train"]
    names = {slide.slug: slide.slide for slide in manifest.slides}
    for name in manifest.classes:
        of_slide: Counter[str] = Counter()
        for shard in train:
            of_slide[shard.slide] += shard.seeds.get(name, 0)
        total = sum(of_slide.values())
        if len(of_slide) >= 5 and total >= 20:
            slug, most = of_slide.most_common(1)[0]
            if most > _DOMINANT * total:
                yield Remark(False, f"Slide {names[slug]} gives {percent(most / total)} of train's samples of {name}.")


def _slides_of(count: int) -> str:
    return f"{count} slide{'s' if count > 1 else ''}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
