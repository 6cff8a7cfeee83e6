"""What the report is made of: the files of a run folder -> one Sources. A phase that has not run yet is simply absent.

Names of slides and patients reach the page only through shown_slide, shown_patient and shown_key, free text
through shown_text.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, read_json_lines, sha256_file
from mlseg_dist.config import HELD_OUT, LearningConfig
from mlseg_dist.evaluation import VERSION
from mlseg_dist.evaluation.ledger import Opening
from mlseg_dist.evaluation.ledger import read as read_openings
from mlseg_dist.privacy.redaction import Redaction
from mlseg_dist.report.words import Interval, place_of
from mlseg_dist.run_folder import (
    evaluations_folder,
    generators_folder,
    labels_folder,
    phase_folder,
    shards_folder,
    styled_folder,
)


@dataclass(frozen=True)
class Sources:
    """curves: step -> lines of metrics.jsonl. evaluation: evaluation.json of version 2 or None; its pictures lie in
    evaluation_folder/pictures. is_earlier: there is an evaluation, but only of version 1.

    rounds: per label round its number, teacher, threshold, accepted and rejected px in all, by stain and slide, its folder.
    styled: facts of the styled views' manifest, and `generators`: their records with the path of a sheet.
    by_hand: name -> evaluation.json of each other evaluation in RUN/evaluations. openings: of final-unseen, the first one first.
    hashes: what -> hex digest. shards: the corpus' folder, which may not be there.
    """

    config: LearningConfig
    redaction: Redaction
    curves: dict[str, list[dict[str, Any]]]
    evaluation: dict[str, Any] | None
    evaluation_folder: Path
    is_earlier: bool
    rounds: list[dict[str, Any]]
    styled: dict[str, Any] | None
    config_text: str
    by_hand: dict[str, dict[str, Any]] = field(default_factory=dict)
    openings: list[Opening] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    shards: Path = Path()

    @property
    def steps(self) -> list[str]:
        """Names of the evaluated steps, in the campaign's order."""
        return list(self.evaluation["steps"]) if self.evaluation else []

    @property
    def controls(self) -> dict[str, str]:
        """Step of a control -> the campaign's own step that it is compared with; those that were evaluated."""
        return dict(self.block("controls"))

    def control_of(self, step: str) -> str | None:
        """The control's step that one of the campaign's own is compared with."""
        return next((control for control, own in self.controls.items() if own == step), None)

    @property
    def splits(self) -> list[str]:
        """Those that chose nothing first: they are what a reader should quote."""
        return sorted(self.evaluation["splits"], key=place_of) if self.evaluation else []

    @property
    def held_out(self) -> list[str]:
        """Splits that chose nothing; validation where there is no other."""
        return [split for split in self.splits if split in HELD_OUT] or self.splits

    def block(self, *keys: str) -> Any:
        """A part of evaluation.json, for example block("figures", "test", "base", "pooled"); {} where it is missing."""
        found: Any = self.evaluation or {}
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
            if found is None:
                return {}
        return found

    def pooled(self, split: str, step: str, figure: str, name: str = "") -> Interval:
        """A pooled figure with its interval; name: the class, where the figure has one per class."""
        found = self.block("figures", split, step, "pooled", figure)
        return (found.get(name) if name else found) or {}

    def difference(self, split: str, first: str, last: str) -> dict[str, Any] | None:
        """The paired difference of two steps, where the evaluation has it."""
        rows = self.block("differences", split) or []
        return next((row for row in rows if (row["from"], row["to"]) == (first, last)), None)

    def shown_slide(self, slug: str) -> str:
        return self.redaction.names.slide(slug)

    def shown_patient(self, patient: str) -> str:
        return self.redaction.names.patient(patient)

    def shown_key(self, key: str) -> str:
        """A patch's KEY."""
        return self.redaction.names.key(key)

    def shown_text(self, said: str) -> str:
        """An error's words without names and paths."""
        return self.redaction.text(said)


def read_sources(config: LearningConfig, run: Path) -> Sources:
    """Everything that is there by now. Raises UserError for a file that is there and damaged."""
    own = _phase(run, "evaluate")
    evaluation, folder, is_earlier = _evaluation(own, run)
    by_hand = {name: found for name, (found, other) in _by_hand(run).items() if other != folder}
    campaign = run / "campaign.yaml"
    redaction = Redaction(run)
    for found in (evaluation, *by_hand.values()):
        slides = found["slides"] if found else {}
        redaction.names.admit(slides, (facts["patient"] for facts in slides.values()))
    return Sources(
        config=config,
        redaction=redaction,
        curves={step.name: _lines(_phase(run, step.name) / "metrics.jsonl") for step in config.steps},
        evaluation=evaluation,
        evaluation_folder=folder,
        is_earlier=is_earlier,
        rounds=_rounds(config, run),
        styled=_styled(run),
        config_text=redaction.config(campaign.read_text(encoding="utf-8")) if campaign.exists() else "",
        by_hand=by_hand,
        openings=_openings(run),
        hashes=_hashes(config, run),
        shards=shards_folder(run),
    )


def _evaluation(own: Path, run: Path) -> tuple[dict[str, Any] | None, Path, bool]:
    """The campaign's own evaluation; where that is missing or of version 1, the one by hand with most splits and steps, but none
    with thresholds from the command line.

    Returns it or None, its folder, and whether there is only an earlier one.
    """
    found = _scores(own) if (own / "evaluation.json").exists() else None
    if found is not None and found["version"] == VERSION:
        return found, own, False
    others = [one for one in _by_hand(run).values() if not _at_other_thresholds(one[0])]
    others.sort(key=lambda one: (-len(one[0]["splits"]), -len(one[0]["steps"])))
    return (*others[0], False) if others else (None, own, found is not None)


def _by_hand(run: Path) -> dict[str, tuple[dict[str, Any], Path]]:
    """Name -> evaluation.json of this version, and its folder, of what `mlseg evaluate` wrote into the run."""
    folders = sorted(path.parent for path in evaluations_folder(run).glob("[!.]*/evaluation.json"))
    found = {folder.name: (_scores(folder), folder) for folder in folders}
    return {name: one for name, one in found.items() if one[0]["version"] == VERSION}


def _scores(folder: Path) -> dict[str, Any]:
    """An evaluation.json of this version or an earlier one. Raises UserError."""
    path = folder / "evaluation.json"
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("version"), int):
        raise UserError("is not an evaluation", path, "Restore the file or make it again: mlseg evaluate RUN.")
    if found["version"] > VERSION:
        raise UserError(f"was made by a later version (its format is {found['version']})", path, "Use that version.")
    return found


def _at_other_thresholds(evaluation: dict[str, Any]) -> bool:
    return any(teacher["source"] == "command line" for teacher in evaluation["teachers"].values())


def _openings(run: Path) -> list[Opening]:
    """Openings of final-unseen of the run's corpus. Raises UserError for a damaged ledger."""
    manifest = shards_folder(run) / "manifest.json"
    return read_openings(run, sha256_file(manifest)) if manifest.exists() else []


def _phase(run: Path, name: str) -> Path:
    try:
        return phase_folder(run, name)
    except UserError:
        return run / "phases" / name  # does not exist


def _lines(path: Path) -> list[dict[str, Any]]:
    """Training and validation in a metrics.jsonl."""
    return [record for record in read_json_lines(path) if record.get("kind") in ("train", "val")]


def _rounds(config: LearningConfig, run: Path) -> list[dict[str, Any]]:
    rounds = []
    for number in range(1, len(config.steps)):
        path = labels_folder(run, number) / "manifest.json"
        if path.exists():
            teacher = config.steps[number - 1]
            facts = {"teacher": teacher.name, "threshold": teacher.label.threshold, **read_json(path)["facts"]}
            rounds.append({**facts, "round": number, "folder": path.parent})
    return rounds


def _styled(run: Path) -> dict[str, Any] | None:
    path, made = styled_folder(run) / "manifest.json", generators_folder(run)
    if not path.exists():
        return None
    pairs = read_json(made / "generators.json")["pairs"]
    return {
        **read_json(path)["facts"],
        "generators": [{**record, "sheet": made / name / "sheet.jpg"} for name, record in pairs.items()],
    }


def _hashes(config: LearningConfig, run: Path) -> dict[str, str]:
    found = {}
    files = {"shards": shards_folder(run) / "manifest.json"}
    files |= {f"labels {n}": labels_folder(run, n) / "manifest.json" for n in range(1, len(config.steps))}
    files["styled views"] = styled_folder(run) / "manifest.json"
    for what, path in files.items():
        if path.exists():
            found[f"{what} manifest"] = sha256_file(path)
    for step in config.steps:
        teacher = _phase(run, step.name) / "teacher.json"
        if teacher.exists():
            found[f"teacher {step.name}"] = read_json(teacher)["sha256"]
    frozen = run / "code" / "frozen.json"
    if frozen.exists():
        found["code"] = read_json(frozen)["hash"]
    return found
