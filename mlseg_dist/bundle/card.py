"""README.md of a bundle: what the network learnt from, how good it is and where, what its rounds gave, its limits.

It names no slide and no patient.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlseg_dist.config import CLASSES, FACTORS
from mlseg_dist.teachers.teacher import Teacher
from shards.manifest import Manifest

_FILES = {
    "teacher.json": "network, views, classes, threshold, temperature, normalisation, hashes",
    "weights.safetensors": "the weights, float32",
    "model.onnx": "the same network: views `high` and `low` (those that it sees), uint8 (B, S, S, 3), any B -> `logits` and "
    "`probabilities`",
    "predict.py": "a slide -> class map and areas; needs onnxruntime, NumPy, Pillow and openslide-python alone",
}
_LIMITS = """\
- It tells {classes} on views of {high:g} and {low:g} µm/px, and nothing else. It makes no diagnosis.
- Figures hold for slides like those below. On another stain, scanner or laboratory, look at the maps before you use them;
  `mlseg predict` warns where it can tell.
- Folds, bubbles, blur and pen are learnt as far as people annotated them.
- `threshold` and `temperature` were chosen on the validation slides ({source}), so their figures are optimistic.
"""


def model_card(teacher: Teacher, corpus: Manifest, evaluation: Mapping[str, Any] | None, rounds: Sequence[Any]) -> str:
    """Markdown. evaluation: evaluation.json of the run, version 2, or None. rounds: facts of its rounds of labels."""
    config = teacher.config
    views, point = config.views, config.operating
    parts = [
        f"# {_text(config.campaign)}: {_text(config.step)}",
        f"A network of mlseg ({config.model.kind}) that segments {', '.join(CLASSES)} on whole slides. A pixel takes its most "
        f"probable class if that probability reaches {point.threshold:g}, else background; logits divided by "
        f"{point.temperature:.3g} are calibrated probabilities.",
        "## Files",
        _table(("file", "content"), _FILES.items()),
        "`mlseg predict BUNDLE SLIDE --out DIR` writes maps and regions that QuPath opens.",
        "## Data",
        _data(corpus),
        "## Figures",
        *_figures(teacher, evaluation),
        "## Rounds of labels",
        _rounds(teacher, evaluation, rounds),
        "## Limits",
        _LIMITS.format(
            classes=", ".join(CLASSES), high=views.high_mpp, low=views.low_mpp, source=point.source
        ).rstrip(),
        "## Hashes",
        _table(("of", "sha256"), [("weights in the run", config.weights_sha256), ("corpus", config.corpus_sha256)]),
    ]
    return "\n\n".join(parts) + "\n"


def _data(corpus: Manifest) -> str:
    """Slides, patients and patches of each split, stain, scanner and source."""
    patches: Counter[str] = Counter()
    for shard in corpus.shards:
        patches[shard.slide] += shard.samples
    groups: dict[tuple[str, ...], list[Any]] = {}
    for slide in corpus.slides:
        if not slide.quarantined:
            groups.setdefault((slide.split, *(getattr(slide, factor) for factor in FACTORS)), []).append(slide)
    rows = [
        (*map(_text, key), len(own), len({slide.patient for slide in own}), sum(patches[slide.slug] for slide in own))
        for key, own in sorted(groups.items())
    ]
    return _table(("split", *FACTORS, "slides", "patients", "patches"), rows)


def _figures(teacher: Teacher, evaluation: Mapping[str, Any] | None) -> list[str]:
    step = teacher.config.step
    if evaluation is None or step not in evaluation.get("teachers", {}):
        return ["This step was not evaluated: nobody knows how good it is."]
    if evaluation["teachers"][step]["sha256"] != teacher.config.weights_sha256:
        return ["The run's evaluation is of other weights: nobody knows how good these are."]
    rows = []
    for split, steps in evaluation["figures"].items():
        pooled, facts = steps[step]["pooled"], evaluation["splits"][split]
        rows.append(
            (
                split,
                facts["slides"],
                facts["patients"],
                _interval(pooled["miou"]),
                *(_interval(pooled["iou"][name]) for name in CLASSES),
            )
        )
    said = (
        "IoU over annotated pixels, each once; in brackets 95 % intervals of a bootstrap over patients, where five patients or "
        "more have the class. The figures of `val` chose the network and are no test."
    )
    found = [said, _table(("split", "slides", "patients", "mean", *CLASSES), rows)]
    rows_of_domains = evaluation.get("domains", {}).get(step) or []
    by_domain = [
        (
            row["factor"],
            _text(row["value"]),
            "no" if row["unseen"] else "yes",
            row["slides"],
            row["patients"],
            _interval(row["miou"]),
        )
        for row in rows_of_domains
    ]
    if by_domain:
        found += [
            "Mean IoU on the held-out slides of each domain, and whether any train slide was of it:",
            _table(("factor", "domain", "in training", "slides", "patients", "mean"), by_domain),
        ]
    return found


def _rounds(teacher: Teacher, evaluation: Mapping[str, Any] | None, rounds: Sequence[Mapping[str, Any]]) -> str:
    if not rounds:
        return "The network learnt from people's labels alone."
    lines = [f"{len(rounds)} rounds of pseudo-labels on the train slides came before or with this step."]
    for split, rows in (evaluation or {}).get("differences", {}).items():
        lines += [
            f"- {split}: mean IoU of {_text(row['to'])} minus {_text(row['from'])}: {_interval(row['miou'], signed=True)}"
            for row in rows
            if row["to"] == teacher.config.step
        ]
    if len(lines) == 1:
        lines.append("What they gave was not measured.")
    return "\n".join(lines)


def _interval(row: Mapping[str, Any], signed: bool = False) -> str:
    """`.712 [.651, .770]`, `-` where there is none."""
    value, low, high = (row.get(name) for name in ("value", "low", "high"))
    if value is None:
        return "-"
    shape = "{:+.3f}" if signed else "{:.3f}"
    return shape.format(value) + (
        f" [{shape.format(low)}, {shape.format(high)}]" if low is not None and high is not None else ""
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _text(value: str) -> str:
    """A name from a table as plain text in Markdown and HTML."""
    plain = " ".join(str(value).split())
    for mark in "\\`*_[]<>|#":
        plain = plain.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return plain or "-"


def standalone_code() -> str:
    """predict.py of the bundle."""
    return (Path(__file__).parent / "standalone.py").read_text(encoding="utf-8")
