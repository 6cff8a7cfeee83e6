"""metrics.json and checks.json: the few numbers that programs and the command line read."""

from typing import Any

from mlseg_dist.config import CheckConfig
from mlseg_dist.report.sources import Sources


def metrics(sources: Sources) -> dict[str, Any]:
    """Pooled mIoU and IoU per step and split; under `test` the last step on all splits but val, and the baselines."""
    if sources.evaluation is None:
        return {"steps": [], "test": {}}
    steps = [
        {"step": step["step"], **{split: _short(found["pooled"]) for split, found in step["splits"].items()}}
        for step in sources.steps
    ]
    last = sources.steps[-1]
    baselines = {split: _short(facts["majority"]) for split, facts in sources.evaluation["splits"].items()}
    test = {
        "seen" if split == "test" else split: _short(found["pooled"])
        for split, found in last["splits"].items()
        if split != "val"
    }
    majority = {"class": sources.evaluation["majority"], **baselines}
    return {"steps": steps, "test": {"step": last["step"], **test, "majority": majority}}


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    return {"miou": figures["miou"], "iou": figures["iou"]}


def checks(config: CheckConfig, sources: Sources) -> dict[str, Any]:
    """Every margin of the config against what was reached; a figure that is missing does not pass."""
    rows = []
    for name in type(config).model_fields:
        for split, margin in getattr(config, name).items():
            above, below = (_miou(who, split, sources) for who in name.split("_over_"))
            got = None if above is None or below is None else above - below
            passed = got is not None and got >= margin
            rows.append({"check": name, "split": split, "margin": margin, "got": got, "passed": passed})
    return {"passed": all(row["passed"] for row in rows), "checks": rows}


def _miou(who: str, split: str, sources: Sources) -> float | None:
    """mIoU of `base`, `last` or `majority` on a split."""
    if sources.evaluation is None or split not in sources.splits:
        return None
    if who == "majority":
        return sources.evaluation["splits"][split]["majority"]["miou"]
    return sources.steps[0 if who == "base" else -1]["splits"][split]["pooled"]["miou"]


def in_words(check: str) -> str:
    """`last_over_base` -> `last step over base`."""
    words = {"last": "last step", "base": "base", "majority": "always the majority class"}
    return " over ".join(words[who] for who in check.split("_over_"))
