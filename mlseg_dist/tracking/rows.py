"""Lines of metrics.jsonl as rows of W&B's history. Pure.

W&B drops a row whose number is not above the last one that it has. The number here is a pure function of the line, so that a
line sent twice (a resumed job, a second follower) counts once.
"""

from typing import Any

Axes = tuple[tuple[str, tuple[str, ...]], ...]
AXES: Axes = (
    ("step", ()),
    ("round", ()),
    ("step", ("train/*", "val/*", "speed/*", "health/*", "examples", "examples_in_colours")),
    ("round", ("acceptance/*", "labels/*")),
)
"""x axis -> what is drawn over it; an axis alone is a metric that others refer to."""
SPEED = frozenset({"pairs_s", "data_wait", "step_ms", "tflops", "mfu", "memory_gb"})
HEALTH = frozenset({"skipped", "skipped_steps", "rollbacks", "excluded_pairs", "gradient_norm"})


def number(line: dict[str, Any]) -> int:
    """Place of a line in W&B's history: training and validation of one optimizer step are two rows."""
    return 2 * int(line["step"]) + (line["kind"] == "val")


def row(line: dict[str, Any], excluded: int = 0) -> dict[str, Any]:
    """One row. excluded: pairs left out up to here. Names are those of metrics.jsonl, after train/, val/, speed/, health/."""
    figures = {name: value for name, value in line.items() if name not in ("kind", "step", "epoch", "time", "eta_s")}
    out: dict[str, Any] = {"step": line["step"]}
    if "epoch" in line:
        out["epoch"] = line["epoch"]
    if line["kind"] == "val":
        out |= flatten(figures, "val/")
    else:
        for name, value in figures.items():
            section = "speed/" if name in SPEED else "health/" if name in HEALTH else "train/"
            out |= flatten({name: value}, section)
        out.setdefault("health/excluded_pairs", excluded)
    if "time" in line:
        out["_timestamp"] = line["time"]
    return out


def flatten(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"iou": {"tumour": 1}} -> {"val/iou/tumour": 1} for prefix `val/`; only numbers stay."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat
