"""What W&B shows beside curves: tables, drawings and pictures, as plain values. Pure but for reading files; no wandb.

Slides and patients appear by their pseudonyms. A picture of tissue is sent only with `tracking.images`; drawings always are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import read_json
from mlseg_dist.config import CLASSES, FACTORS
from mlseg_dist.evaluation import VERSION
from mlseg_dist.privacy.pseudonyms import Pseudonyms, shows_pseudonyms

Value = str | int | float | None


@dataclass(frozen=True)
class Grid:
    """A table: a value a column in every row; None where there is none."""

    columns: list[str]
    rows: list[list[Value]]


@dataclass(frozen=True)
class Picture:
    """A picture of tissue. caption: without names."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Content:
    """Each by the name of its panel. drawings: SVG."""

    grids: dict[str, Grid] = field(default_factory=dict)
    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    drawings: dict[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.grids or self.pictures or self.drawings)


def content_of(phase: Path, done: dict[str, Any], names: Pseudonyms) -> Content:
    """What a finished phase has to show. phase: RUN/phases/NN-name; done: its done.json. Raises UserError, OSError."""
    run = phase.parents[1]
    path = run / str(done.get("outputs", {}).get("path", ""))
    if path.suffix != ".json" or not path.is_file():
        return Content()
    if done.get("kind") == "label":
        return Content(pictures=_label_sheet(path))
    if done.get("kind") == "style":
        return Content(pictures=_style_sheets(run))
    if done.get("kind") == "evaluate":
        return of_evaluation(read_json(path), path.parent, names)
    return Content()


def of_evaluation(evaluation: dict[str, Any], folder: Path, names: Pseudonyms) -> Content:
    """Tables of slides, domains and bad regions, the ladder and the map of features, pictures. folder: of evaluation.json."""
    if evaluation.get("version") != VERSION:
        return Content()
    grids = {
        "slides": slides(evaluation, names),
        "domains": domains(evaluation),
        "bad_regions": bad_regions(evaluation),
    }
    return Content(grids, _evaluation_pictures(evaluation, folder, names), _drawings(evaluation, folder))


def slides(evaluation: dict[str, Any], names: Pseudonyms) -> Grid:
    """A row a slide: who it is, its annotated pixels, then mean IoU and IoU of each class for every step."""
    steps = _steps(evaluation)
    figures = [f"{step} {name}" for step in steps for name in ("mIoU", *CLASSES)]
    columns = ["slide", "patient", "split", *FACTORS, "unseen", *(f"{name} px" for name in CLASSES), *figures]
    rows: list[list[Value]] = []
    for slug, one in evaluation["slides"].items():
        row: list[Value] = [names.slide(slug), names.patient(one["patient"]), one["split"]]
        row += [str(one[factor]) for factor in FACTORS]
        row += [" ".join(one["unseen"]), *(one["pixels"].get(name, 0) for name in CLASSES)]
        for step in steps:
            found = one["figures"].get(step, {})
            row += [found.get("miou"), *(found.get("iou", {}).get(name) for name in CLASSES)]
        rows.append(row)
    return Grid(columns, sorted(rows, key=lambda row: (str(row[2]), str(row[0]))))


def domains(evaluation: dict[str, Any]) -> Grid:
    """A row a step and stain, scanner or source; low and high are the ends of the mean IoU's interval."""
    columns = ["step", "domain", "value", "unseen", "slides", "patients", "mIoU", "low", "high"]
    rows: list[list[Value]] = []
    for step in _steps(evaluation):
        for one in evaluation.get("domains", {}).get(step, []):
            row: list[Value] = [step, one["factor"], str(one["value"]), "unseen" if one["unseen"] else ""]
            row += [one["slides"], one["patients"], *(one["miou"].get(key) for key in ("value", "low", "high"))]
            rows.append([*row, *(one["iou"].get(name, {}).get("value") for name in CLASSES)])
    return Grid([*columns, *(f"IoU {name}" for name in CLASSES)], rows)


def bad_regions(evaluation: dict[str, Any]) -> Grid:
    """Recall of folds, bubbles, blur and artefacts: a row a split and step, and one a kind."""
    rows: list[list[Value]] = []
    for split, of_step in evaluation.get("bad_regions", {}).items():
        for step in _steps(evaluation):
            found = of_step.get(step) or {}
            if not found.get("pixels"):
                continue
            for kind, one in (("all", found), *found.get("each", {}).items()):
                recall = one.get("recall") or {}
                rows.append(
                    [split, step, kind, one.get("pixels"), *(recall.get(key) for key in ("value", "low", "high"))]
                )
    return Grid(["split", "step", "kind", "px", "recall", "low", "high"], rows)


def _steps(evaluation: dict[str, Any]) -> list[str]:
    return [*evaluation["steps"], *evaluation.get("controls", {})]


def _drawings(evaluation: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """The ladder, and features by stain, scanner and source where they were looked at."""
    from mlseg_dist.report import figures
    from mlseg_dist.report.features import charts, read_features

    steps, splits = evaluation["steps"], list(evaluation["splits"])

    def miou(split: str, step: str) -> Any:
        return evaluation["figures"][split][step]["pooled"]["miou"]

    beside = {
        split: {own: miou(split, control) for control, own in evaluation.get("controls", {}).items() if own in steps}
        for split in splits
    }
    found = {split: {step: miou(split, step) for step in steps} for split in splits}
    majority = {split: evaluation["splits"][split]["majority"].get("miou") for split in splits}
    drawn = {"ladder": figures.ladder(steps, found, majority, {}, beside)} if steps else {}
    features = read_features(folder)
    return drawn | ({f"features/{name}": svg for name, svg in charts(features).items()} if features else {})


def _evaluation_pictures(evaluation: dict[str, Any], folder: Path, names: Pseudonyms) -> dict[str, list[Picture]]:
    """Examples and worst slides of each split."""
    found: dict[str, list[Picture]] = {}
    for one in evaluation.get("pictures") or []:
        path = folder / "pictures" / str(one["file"])
        facts = evaluation["slides"].get(one["slide"], {})
        said = [names.slide(one["slide"]), *(str(facts.get(factor, "")) for factor in FACTORS), str(one.get("step"))]
        score = "" if one.get("iou") is None else f"IoU {one['iou']:.2f}"
        caption = " · ".join(filter(None, [*said, one.get("class") or "", score]))
        found.setdefault(f"{one.get('kind', 'example')}/{one['split']}", []).append(Picture(path, caption))
    return {name: there for name, pictures in found.items() if (there := _there(pictures))}


def _label_sheet(manifest: Path) -> dict[str, list[Picture]]:
    """A sheet of earlier versions, whose captions name slides, stays in the run folder."""
    facts = read_json(manifest).get("facts", {})
    path = manifest.parent / str(facts.get("sheet") or "")
    if not facts.get("sheet") or not path.is_file() or not shows_pseudonyms(path.read_bytes()):
        return {}
    said = f"patches with the labels of round {facts.get('round', '?')}"
    return {"labels/sheet": [Picture(path, said)]}


def _style_sheets(run: Path) -> dict[str, list[Picture]]:
    from mlseg_dist.run_folder import generators_folder

    made = generators_folder(run)
    try:
        pairs = read_json(made / "generators.json")["pairs"]
    except (UserError, KeyError, TypeError):
        return {}
    found = [Picture(made / name / "sheet.jpg", f"{one['source']} → {one['target']}") for name, one in pairs.items()]
    return {"style/sheets": _there(found)} if _there(found) else {}


def _there(pictures: Iterable[Picture]) -> list[Picture]:
    return [one for one in pictures if one.path.is_file()]
