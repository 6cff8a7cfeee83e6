"""What a finished phase published, as rows and summary figures of its W&B run."""

from pathlib import Path
from typing import Any

from mlseg_core.files import read_json
from mlseg_dist.evaluation import VERSION
from mlseg_dist.tracking.rows import flatten

Rows = list[tuple[int, dict[str, Any]]]


def published(phase: Path, done: dict[str, Any]) -> tuple[Rows, dict[str, Any]]:
    """phase: RUN/phases/NN-name. done: its done.json (kind, outputs, seconds, ended). Raises UserError, OSError."""
    run = phase.parents[1]
    figures: dict[str, Any] = {"phase/seconds": done.get("seconds"), "phase/host": done.get("host")}
    path = run / str(done.get("outputs", {}).get("path", ""))
    if path.suffix != ".json" or not path.is_file():
        return [], figures
    found = read_json(path)
    rows: Rows = []
    if done.get("kind") == "label":
        rows, more = _round(found)
    elif done.get("kind") == "style":
        more = flatten({name: kept["mean"] for name, kept in found["facts"]["ssim"].items()}, "style/ssim/")
    elif done.get("kind") == "shards":
        more = flatten(found["totals"], "corpus/")
    elif done.get("kind") == "evaluate":
        more = _evaluation(found)
    elif done.get("kind") == "train":
        more = flatten({name: found[name] for name in ("step", "miou") if name in found}, "teacher/")
    else:
        more = {}
    return rows, figures | more


def _round(manifest: dict[str, Any]) -> tuple[Rows, dict[str, Any]]:
    """Acceptance of a round over `round`: the part of all labelled pixels that each class got, and of all classes."""
    facts = manifest["facts"]
    accepted, round_number = facts["accepted"], int(facts["round"])
    pixels = sum(accepted.values()) + facts["rejected"]
    shares = {name: count / pixels if pixels else 0.0 for name, count in accepted.items()}
    figures = flatten({**shares, "all": sum(shares.values())}, "acceptance/")
    for stain, counts in facts.get("by_stain", {}).items():
        figures[f"acceptance/by_stain/{stain}"] = 1 - counts["rejected"] / max(1, sum(counts.values()))
    figures |= flatten({"drawn": facts.get("drawn", {}), "threshold": facts.get("threshold")}, "labels/")
    expected = facts.get("expected") or {}
    figures |= flatten({key: expected[key] for key in ("precision", "recall") if key in expected}, "labels/expected/")
    return [(round_number, {"round": round_number, **figures})], figures


def _evaluation(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Pooled and per-slide figures of every step on every split, and the ends of the pooled mean IoU's interval.

    Files of earlier versions counted overlapping patches; they have nothing that could stand beside these.
    """
    figures: dict[str, Any] = {}
    if evaluation.get("version") != VERSION:
        return figures
    for split, of_step in evaluation["figures"].items():
        for step, scores in of_step.items():
            pooled, per_slide = scores["pooled"], scores["per_slide"]
            kept = {name: _values(pooled[name]) for name in ("miou", "iou", "accuracy")}
            kept |= {"miou_low": pooled["miou"]["low"], "miou_high": pooled["miou"]["high"]}
            figures |= flatten(kept, f"{split}/{step}/pooled/")
            figures |= flatten(
                {name: _values(per_slide[name]) for name in ("miou", "iou")}, f"{split}/{step}/per_slide/"
            )
    return figures


def _values(row: dict[str, Any]) -> Any:
    """The number of a figure with its interval, or those of its classes."""
    return row["value"] if "value" in row else {name: _values(one) for name, one in row.items()}
