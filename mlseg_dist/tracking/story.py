"""The campaign as one W&B run: a row a step of the ladder, with its control and its gates. Reads JSON files; no wandb.

A row belongs to one of the campaign's own steps (`ladder_step`, from 0). What is known of a step when it has been trained
(teacher, round of labels, gates) is one row, what the evaluation says of it another; both have the same place on the x axis.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, read_json, sha256_file
from mlseg_dist.config import LearningConfig
from mlseg_dist.evaluation import VERSION
from mlseg_dist.report.metrics import in_words
from mlseg_dist.report.words import share, signed
from mlseg_dist.run_folder import labels_folder, phase_folder, teacher_record
from mlseg_dist.tracking.alerts import Alert, checks_alert, regions_alert
from mlseg_dist.tracking.lineage import Lineage, corpus, evaluation, labels, teachers
from mlseg_dist.tracking.rows import Axes, flatten

AXIS = "ladder_step"
AXES: Axes = ((AXIS, ()), (AXIS, ("ladder/*", "control/*", "gain/*", "gate/*", "teacher/*", "round/*")))
"""As rows.AXES."""


@dataclass(frozen=True)
class Story:
    """rows: number -> row, in the order in which they become known. evaluation: evaluation.json of this version, or None.

    folder: that it lies in. digest: of all that is sent.
    """

    rows: dict[int, dict[str, Any]]
    summary: dict[str, Any]
    alerts: list[Alert]
    lineage: Lineage
    evaluation: dict[str, Any] | None = None
    folder: Path | None = None
    digest: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows)


def story_of(config: LearningConfig, run: Path) -> Story:
    """What there is by now. Raises UserError for an evaluation.json that is damaged, OSError."""
    own = [index for index, step in enumerate(config.steps) if not step.control]
    rows: dict[int, dict[str, Any]] = {}
    alerts: list[Alert] = []
    for place, index in enumerate(own):
        known = _trained(config, run, index)
        if known:
            rows[place] = {AXIS: place, **known}
    found, folder, sha = _evaluation(run)
    summary: dict[str, Any] = {f"steps/{place}": config.steps[index].name for place, index in enumerate(own)}
    if found is not None:
        names = {config.steps[index].name: place for place, index in enumerate(own)}
        for step in found["steps"]:
            if step in names:
                rows[len(own) + names[step]] = {AXIS: names[step], **_evaluated(found, step)}
        alerts += regions_alert(config.name, _fallen(found))
    checks = _checks(run)
    if checks is not None:
        failed = [one for one in checks["checks"] if not one["passed"]]
        summary |= {"checks/passed": len(checks["checks"]) - len(failed), "checks/failed": len(failed)}
        said = [
            f"{in_words(one['check'])} on {one['split']}: {signed(one['got'])}, needed {signed(one['margin'])}"
            for one in failed
        ]
        alerts += checks_alert(config.name, said)
    made = evaluation(config, run)
    used = [corpus(config, run), *(labels(config, run, index) for index in own[1:]), *teachers(config, run)]
    lineage = Lineage(tuple(one for one in used if one), (made,) if made else ())
    what = [rows, summary, [[alert.title, alert.text] for alert in alerts], sha]
    what.append([one.uri for one in (*lineage.used, *lineage.made)])
    return Story(rows, summary, alerts, lineage, found, folder, fingerprint(what))


def _trained(config: LearningConfig, run: Path, index: int) -> dict[str, Any]:
    """The teacher's validation while it was trained, what its round of labels accepted, and how far that was from the gates."""
    try:
        record = teacher_record(run, config.steps[index].name)
    except (UserError, OSError):
        return {}
    row = flatten({name: record[name] for name in ("step", "miou", "iou") if name in record}, "teacher/")
    number = config.round_of(index)
    facts = _facts(run, number) if number is not None else {}
    if facts:
        pixels = sum(facts["accepted"].values()) + facts["rejected"]
        row |= flatten({name: count / pixels if pixels else 0.0 for name, count in facts["accepted"].items()}, "round/")
        row["round/all"] = sum(facts["accepted"].values()) / pixels if pixels else 0.0
        row |= flatten(_kept(facts, config.steps[index - 1].label.min_share_kept), "gate/")
        row["gate/harmful"] = len(facts.get("harmful") or ())
    if "miou" in record:
        row["gate/least_miou"] = config.steps[index].label.min_miou
    return row


def _facts(run: Path, number: int) -> dict[str, Any]:
    try:
        found = read_json(labels_folder(run, number) / "manifest.json")["facts"]
        return found if {"accepted", "rejected"} <= found.keys() else {}
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return {}


def _kept(facts: dict[str, Any], least: float) -> dict[str, Any]:
    """What the drift gate compares: each class's share of the accepted pixels, and the least part of it that must be kept."""
    total = sum(facts["accepted"].values())
    shares = {f"share/{name}": count / total for name, count in facts["accepted"].items()} if total else {}
    return {**shares, "least_share_kept": least}


def _evaluated(found: dict[str, Any], step: str) -> dict[str, Any]:
    """Pooled and per-slide figures of a step on each split, those of its control, and the paired difference from that."""
    row: dict[str, Any] = {}
    control = next((name for name, own in found.get("controls", {}).items() if own == step), None)
    for split, of_step in found["figures"].items():
        row |= _pooled(of_step[step], f"ladder/{split}/")
        recall = (found["bad_regions"].get(split, {}).get(step) or {}).get("recall") or {}
        row |= flatten({"bad_regions": recall.get("value")}, f"ladder/{split}/")
        if control is not None:
            row |= _pooled(of_step[control], f"control/{split}/")
            rows = found["differences"].get(split) or []
            paired = next((one["miou"] for one in rows if (one["from"], one["to"]) == (control, step)), None)
            row |= flatten(_ends(paired, "miou"), f"gain/{split}/")
    return row


def _pooled(scores: dict[str, Any], prefix: str) -> dict[str, Any]:
    pooled = scores["pooled"]
    iou = {name: one["value"] for name, one in pooled["iou"].items()}
    per_slide = {"miou": scores["per_slide"]["miou"]["value"]}
    return flatten({**_ends(pooled["miou"], "miou"), "iou": iou, "per_slide": per_slide}, prefix)


def _ends(found: dict[str, Any] | None, name: str) -> dict[str, Any]:
    one = found or {}
    return {name: one.get("value"), f"{name}_low": one.get("low"), f"{name}_high": one.get("high")}


def _fallen(found: dict[str, Any]) -> list[str]:
    """Splits on which the last step recalls bad regions worse than the first: the report's own rule."""
    from mlseg_dist.report.verdict import Change

    said = []
    if len(found["steps"]) > 1:
        first, last = found["steps"][0], found["steps"][-1]
        for split, of_step in found["bad_regions"].items():
            was, now = ((of_step.get(step) or {}).get("recall") or {} for step in (first, last))
            rows = found["differences"].get(split) or []
            paired = next((one.get("bad_regions") for one in rows if (one["from"], one["to"]) == (first, last)), None)
            if Change("", "", was, now, paired, always_told=True).is_fall:
                said.append(
                    f"{split}: recall {share(was.get('value'))} at {first}, {share(now.get('value'))} at {last}"
                )
    return said


def _evaluation(run: Path) -> tuple[dict[str, Any] | None, Path | None, str]:
    """evaluation.json of this version, its folder and its sha256."""
    try:
        path = phase_folder(run, "evaluate") / "evaluation.json"
    except UserError:
        return None, None, ""
    if not path.is_file():
        return None, None, ""
    found = read_json(path)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return None, None, ""
    return found, path.parent, sha256_file(path)


def _checks(run: Path) -> dict[str, Any] | None:
    try:
        found = read_json(run / "report" / "checks.json")
        return found if isinstance(found, dict) and isinstance(found.get("checks"), list) else None
    except (UserError, OSError):
        return None
