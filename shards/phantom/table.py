"""Which slides there are: a config in, specimens (what is drawn) and the slide table out."""

from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from mlseg_core.csv_text import write_rows
from mlseg_core.exactly_once.run import Unit
from mlseg_core.files import fingerprint, write_atomic
from mlseg_core.randomness import generator
from shards.phantom.appearances import APPEARANCES
from shards.phantom.catalog import SCANNERS, SEEN, SEEN_LABS, STAINS, UNSEEN
from shards.phantom.config import RECIPE, PhantomConfig, Split

COLUMNS = ("slide", "patient", "stain", "scanner", "source", "split", "annotation", "mpp", "score")

POSITIVE_BY_PROPORTION = {0: 0.0, 1: 0.008, 2: 0.06, 3: 0.22, 4: 0.5, 5: 0.85}
"""Allred proportion score -> fraction of positive nuclei."""
INTENSITY_BY_GRADE = {0: 0.0, 1: 0.45, 2: 0.8, 3: 1.2}
"""Allred intensity score -> amount of chromogen."""
MEMBRANE_BY_HER2 = {0: (0.0, 0.0), 1: (0.3, 0.3), 2: (0.7, 0.6), 3: (0.95, 1.1)}
"""HER2 score -> (fraction of cells with a stained membrane, amount of chromogen)."""


@dataclass(frozen=True)
class Specimen:
    """All that decides a slide's bytes. positive: fraction of marked tumour cells; intensity: their chromogen."""

    name: str
    seed: int
    stain: str
    scanner: str
    source: str
    positive: float
    intensity: float
    mpp: float
    size_um: float
    annotated: float
    decoys: float
    cuff_contrast: float
    artefacts: int
    jpeg_quality: int
    layout: str = ""
    """Slides of one layout show the same tissue; "": a layout of its own."""
    regions: float = 1.0
    careless_um: float = 0.0
    swapped: bool = False
    truth: bool = False
    """Whether the whole truth is written beside the annotation, for scoring only."""

    @property
    def layout_name(self) -> str:
        return self.layout or self.name


@dataclass(frozen=True)
class Row:
    """A slide in the table. annotated: by people."""

    specimen: Specimen
    patient: str
    split: Split
    score: str
    annotated: bool = True


@dataclass(frozen=True)
class _Look:
    """What a slide was stained and scanned with, and whether people annotated it."""

    stain: str
    scanner: str
    source: str
    annotated: bool = True


def rows(config: PhantomConfig) -> list[Row]:
    """The slides of all splits; a patient's slides share split and source."""
    found: list[Row] = []
    patients = 0
    for split in get_args(Split):
        count: int = getattr(config, split.replace("-", "_"))
        looks, appearances = _looks(config, split, count), _appearances(config, split)
        if split == "train" and config.groups is not None:
            count += config.groups.unannotated
        swapped = _swapped(config, looks) if split == "train" else set()
        index = 0
        in_split = 0
        while index < count:
            patients += 1
            in_split += 1
            slides = 2 if in_split % config.second_slide_every == 0 else 1
            source = looks[in_split - 1].source if config.groups is None else ""
            for i in range(index, min(index + slides, count)):
                patient = f"P{patients:03d}"
                if appearances:
                    found += [_rendered(config, split, i, patient, name) for name in appearances]
                else:
                    look = replace(looks[i], source=source or looks[i].source)
                    found.append(_row(config, split, i, patient, look, i in swapped))
            index += slides
    return found


def _looks(config: PhantomConfig, split: str, count: int) -> list[_Look]:
    """Balanced, shuffled; one for each slide."""
    if split in UNSEEN:
        return [_Look(*UNSEEN[split])] * count
    groups = config.groups
    if groups is None:
        return _mixed_looks(config, split, count, SEEN["scanner"], SEEN_LABS)
    others = (
        [name for name in SEEN["scanner"] if name not in groups.scanners],
        [name for name in SEEN_LABS if name not in groups.sources],
    )
    known = (list(groups.scanners), list(groups.sources))
    if split == "train":
        unannotated = _mixed_looks(config, "train-unannotated", groups.unannotated, *others)
        return _mixed_looks(config, split, count, *known) + [replace(look, annotated=False) for look in unannotated]
    if split == "val":
        return _mixed_looks(config, split, count, *known)
    half = count // 2
    return _mixed_looks(config, split, count - half, *known) + _mixed_looks(config, "test-others", half, *others)


def _mixed_looks(config: PhantomConfig, part: str, count: int, scanners: list[str], sources: list[str]) -> list[_Look]:
    """part: a split, or the part of one that nobody annotated or that has other labs and scanners."""
    left_out = () if part.startswith("test") else config.left_out
    lists = []
    for kind, every in (("stain", SEEN["stain"]), ("scanner", scanners), ("source", sources)):
        names = [name for name in every if name not in left_out]
        random = generator(config.seed, "phantom", part, kind)
        rounds = -(-count // len(names))
        lists.append([str(name) for _ in range(rounds) for name in random.permutation(names)])
    return [_Look(*look) for look in zip(*(names[:count] for names in lists), strict=True)]


def _appearances(config: PhantomConfig, split: str) -> tuple[str, ...]:
    return {"dev-unseen": config.dev_appearances, "final-unseen": config.final_appearances}.get(split, ())


def _swapped(config: PhantomConfig, looks: list[_Look]) -> set[int]:
    """Numbers of the train slides whose Tumor and DCIS are swapped."""
    annotated = [number for number, look in enumerate(looks) if look.annotated]
    order = generator(config.seed, "phantom", "swapped").permutation(annotated)
    return {int(number) for number in order[: config.swapped]}


def _row(config: PhantomConfig, split: Split, index: int, patient: str, look: _Look, swapped: bool) -> Row:
    name = f"{split}-{index:03d}-{look.stain.replace('&', '')}"
    score, positive, intensity = _score(config.seed, name, look.stain)
    specimen = _specimen(config, name, look, positive, intensity)
    if split == "train" and config.has_truth:
        specimen = replace(
            specimen, regions=config.regions, careless_um=config.careless_um, swapped=swapped, truth=True
        )
    return Row(specimen, patient, split, score, look.annotated)


def _rendered(config: PhantomConfig, split: Split, index: int, patient: str, name: str) -> Row:
    """A layout in one of its appearances. The share of marked cells is the layout's, whatever the stain."""
    layout, look = f"{split}-{index:03d}", APPEARANCES[name]
    _, positive, intensity = _score(config.seed, layout, "Ki67")
    slide = f"{layout}-{name.replace('&', '')}"
    specimen = _specimen(config, slide, _Look(look.stain, look.scanner, look.source), positive, intensity)
    return Row(replace(specimen, layout=layout), patient, split, "")


def _specimen(config: PhantomConfig, name: str, look: _Look, positive: float, intensity: float) -> Specimen:
    return Specimen(
        name=name,
        seed=config.seed,
        stain=look.stain,
        scanner=look.scanner,
        source=look.source,
        positive=positive,
        intensity=intensity,
        mpp=round(config.mpp * SCANNERS[look.scanner].mpp, 6),
        size_um=config.size_um,
        annotated=config.annotated,
        decoys=config.decoys,
        cuff_contrast=config.cuff_contrast,
        artefacts=config.artefacts,
        jpeg_quality=config.jpeg_quality,
    )


def _score(seed: int, name: str, stain: str) -> tuple[str, float, float]:
    """(score as the table shows it, fraction of marked cells, amount of chromogen)."""
    random = generator(seed, "phantom", name, "score")
    kind = STAINS[stain].score
    if kind == "allred":
        if random.random() < 0.15:
            return "0", 0.0, 0.0
        proportion, grade = int(random.integers(1, 6)), int(random.integers(1, 4))
        return str(proportion + grade), POSITIVE_BY_PROPORTION[proportion], INTENSITY_BY_GRADE[grade]
    if kind == "her2":
        her2 = int(random.integers(0, 4))
        return str(her2), *MEMBRANE_BY_HER2[her2]
    if kind == "percent":
        percent = int(random.integers(2, 90))
        return str(percent), percent / 100, 1.0
    return "", 0.0, 0.0


def units(config: PhantomConfig) -> list[Unit]:
    """One unit of work per slide."""
    return [unit_of(row.specimen) for row in rows(config)]


def unit_of(specimen: Specimen) -> Unit:
    payload: dict[str, Any] = asdict(specimen)
    defaults = {field.name: field.default for field in fields(Specimen) if field.default is not MISSING}
    decides = {name: value for name, value in payload.items() if name not in defaults or value != defaults[name]}
    return Unit(specimen.name, fingerprint({"recipe": RECIPE, **decides}), payload)


def write_table(config: PhantomConfig, folder: Path) -> Path:
    """Write `folder/slides.csv`; paths are relative to it. mpp stays empty: the TIFF carries it.

    Where config.has_truth, `folder/truth.csv` is the same table with the whole truth of each train slide in place of what people
    annotated, for scoring pseudo-labels. Config.train_annotations says which of the two `slides.csv` is.
    """
    path = folder / "slides.csv"
    write_atomic(path, _table(config, truth=config.train_annotations == "whole-truth"))
    if config.has_truth:
        write_atomic(folder / "truth.csv", _table(config, truth=True))
    return path


def _table(config: PhantomConfig, truth: bool) -> str:
    lines: list[Sequence[object]] = [COLUMNS]
    for row in rows(config):
        s = row.specimen
        annotation = f"{s.name}.geojson" if row.annotated else ""
        if truth and s.truth:
            annotation = f"{s.name}.truth.geojson"
        lines.append([f"{s.name}.tif", row.patient, s.stain, s.scanner, s.source, row.split, annotation, "", row.score])
    return write_rows(lines)
