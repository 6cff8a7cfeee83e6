"""Which slides there are: a config in, specimens (what is drawn) and the slide table out."""

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from mlseg_core.files import fingerprint, write_atomic
from mlseg_core.map import Unit
from mlseg_core.randomness import generator
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


@dataclass(frozen=True)
class Row:
    """A slide in the table."""

    specimen: Specimen
    patient: str
    split: Split
    score: str


def rows(config: PhantomConfig) -> list[Row]:
    """The slides of all splits; a patient's slides share split and source."""
    found: list[Row] = []
    patients = 0
    for split in get_args(Split):
        count: int = getattr(config, split.replace("-", "_"))
        stains, scanners, sources = _choices(config, split, count)
        index = 0
        in_split = 0
        while index < count:
            patients += 1
            in_split += 1
            slides = 2 if in_split % config.second_slide_every == 0 else 1
            for i in range(index, min(index + slides, count)):
                found.append(_row(config, split, i, f"P{patients:03d}", stains[i], scanners[i], sources[in_split - 1]))
            index += slides
    return found


def _choices(config: PhantomConfig, split: str, count: int) -> tuple[list[str], list[str], list[str]]:
    """Balanced, shuffled lists of stains, scanners and sources."""
    if split in UNSEEN:
        stain, scanner, source = UNSEEN[split]
        return [stain] * count, [scanner] * count, [source] * count
    lists = []
    for kind, names in (("stain", SEEN["stain"]), ("scanner", SEEN["scanner"]), ("source", SEEN_LABS)):
        random = generator(config.seed, "phantom", split, kind)
        rounds = -(-count // len(names))
        lists.append([str(name) for _ in range(rounds) for name in random.permutation(names)])
    return lists[0], lists[1], lists[2]


def _row(config: PhantomConfig, split: Split, index: int, patient: str, stain: str, scanner: str, source: str) -> Row:
    name = f"{split}-{index:03d}-{stain.replace('&', '')}"
    score, positive, intensity = _score(config.seed, name, stain)
    specimen = Specimen(
        name=name,
        seed=config.seed,
        stain=stain,
        scanner=scanner,
        source=source,
        positive=positive,
        intensity=intensity,
        mpp=round(config.mpp * SCANNERS[scanner].mpp, 6),
        size_um=config.size_um,
        annotated=config.annotated,
        decoys=config.decoys,
        cuff_contrast=config.cuff_contrast,
        artefacts=config.artefacts,
        jpeg_quality=config.jpeg_quality,
    )
    return Row(specimen, patient, split, score)


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
    return Unit(specimen.name, fingerprint({"recipe": RECIPE, **payload}), payload)


def write_table(config: PhantomConfig, folder: Path) -> Path:
    """Write `folder/slides.csv`; paths are relative to it. mpp stays empty: the TIFF carries it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(config):
        s = row.specimen
        writer.writerow(
            [f"{s.name}.tif", row.patient, s.stain, s.scanner, s.source, row.split, f"{s.name}.geojson", "", row.score]
        )
    path = folder / "slides.csv"
    write_atomic(path, text.getvalue())
    return path
