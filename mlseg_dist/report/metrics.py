"""metrics.json and checks.json: the few numbers that programs and the command line read. In: evaluation.json (version 2)."""

from collections.abc import Sequence
from typing import Any

from mlseg_dist.config import CheckConfig

Evaluation = dict[str, Any] | None

BAD_REGIONS = "bad_regions_"
"""Prefix of the checks whose figure is the recall of bad regions; that of the others is mean IoU."""


def metrics(evaluation: Evaluation, rounds: Sequence[dict[str, Any]] = (), gain: str = "") -> dict[str, Any]:
    """Pooled mIoU and IoU per step and split, with the interval of the mIoU, and of the controls' steps; under `test` the last
    step on all splits but val, and the baselines. `seen` is the test split.

    rounds: facts of the rounds of labels; what is expected of each is under `labels`. gain: the sentence that says what they gave.
    """
    said = {"labels": expected_of(rounds), "gain": gain}
    if evaluation is None or not evaluation["steps"]:
        return {"steps": [], "test": {}, **said}
    figures = evaluation["figures"]

    def row(step: str) -> dict[str, Any]:
        return {"step": step, **{split: _short(of_step[step]["pooled"]) for split, of_step in figures.items()}}

    steps = [row(step) for step in evaluation["steps"]]
    last = steps[-1]
    test = {"seen" if split == "test" else split: last[split] for split in figures if split != "val"}
    baselines = {
        split: {key: facts["majority"][key] for key in ("miou", "iou")} for split, facts in evaluation["splits"].items()
    }
    return {
        "steps": steps,
        "controls": [{**row(step), "of": own} for step, own in evaluation.get("controls", {}).items()],
        "test": {"step": last["step"], **test, "majority": {"class": evaluation["majority"], **baselines}},
        **said,
    }


def expected_of(rounds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Round, teacher, and by view and class how much of what is accepted is expected to be right (precision) and which part of
    the class is accepted so (recall). Without rounds of earlier versions, which did not ask."""
    return [
        {
            "round": one["round"],
            "teacher": one["teacher"],
            **{key: one["expected"][key] for key in ("precision", "recall")},
        }
        for one in rounds
        if one.get("expected")
    ]


def _short(pooled: dict[str, Any]) -> dict[str, Any]:
    """miou and iou as plain numbers; low, high and patients are those of the miou."""
    mean = pooled["miou"]
    return {
        "miou": mean["value"],
        "iou": {name: row["value"] for name, row in pooled["iou"].items()},
        **{key: mean[key] for key in ("low", "high", "patients")},
    }


def checks(config: CheckConfig, evaluation: Evaluation) -> dict[str, Any]:
    """Every margin of the config against what was reached; a figure that is missing does not pass.

    Where nobody annotated bad regions on an evaluated split there is nothing to check, and no row.
    """
    rows = []
    for name in type(config).model_fields:
        for split, margin in getattr(config, name).items():
            if name.startswith(BAD_REGIONS) and _nothing_bad(split, evaluation):
                continue
            above, below = (_figure(name, who, split, evaluation) for who in _compared(name))
            got = None if above is None or below is None else above - below
            passed = got is not None and got >= margin
            rows.append({"check": name, "split": split, "margin": margin, "got": got, "passed": passed})
    return {"passed": all(row["passed"] for row in rows), "checks": rows}


def _compared(check: str) -> list[str]:
    return check.removeprefix(BAD_REGIONS).split("_over_")


def _nothing_bad(split: str, evaluation: Evaluation) -> bool:
    if evaluation is None or not evaluation["steps"] or split not in evaluation["splits"]:
        return False
    return not any(found["pixels"] for found in evaluation["bad_regions"][split].values())


def _figure(check: str, who: str, split: str, evaluation: Evaluation) -> float | None:
    """What a check compares, of `base`, `last` or `majority` on a split; pooled over its cells."""
    if evaluation is None or not evaluation["steps"] or split not in evaluation["splits"]:
        return None
    if who == "majority":
        found = evaluation["splits"][split]["majority"]["miou"]
    else:
        step = _step(who, evaluation)
        if step is None:
            return None
        if check.startswith(BAD_REGIONS):
            found = evaluation["bad_regions"][split][step]["recall"]["value"]
        else:
            found = evaluation["figures"][split][step]["pooled"]["miou"]["value"]
    return None if found is None else float(found)


def _step(who: str, evaluation: dict[str, Any]) -> str | None:
    """The evaluated step that is meant by `base`, `last` or `control`; None where there is no control of the last step."""
    steps: list[str] = evaluation["steps"]
    if who != "control":
        return steps[0 if who == "base" else -1]
    return next((step for step, own in evaluation.get("controls", {}).items() if own == steps[-1]), None)


def in_words(check: str) -> str:
    """`last_over_base` -> `mean IoU, last step over base`."""
    words = {"last": "last step", "base": "base", "majority": "always the majority class"}
    words["control"] = "human labels alone"
    figure = "recall of bad regions" if check.startswith(BAD_REGIONS) else "mean IoU"
    return f"{figure}, {' over '.join(words[who] for who in _compared(check))}"
