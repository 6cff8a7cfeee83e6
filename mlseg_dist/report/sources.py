"""What the report is made of: the files of a run folder -> one Sources. A phase that has not run yet is simply absent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, read_json_lines, sha256_file
from mlseg_dist.config import LearningConfig
from mlseg_dist.pseudonyms import Pseudonyms
from mlseg_dist.redaction import Redaction
from mlseg_dist.run_folder import generators_folder, labels_folder, phase_folder, shards_folder, styled_folder


@dataclass(frozen=True)
class Sources:
    """curves: step -> lines of metrics.jsonl. evaluation: evaluation.json or None; pictures lie in evaluation_folder.

    rounds: per label round its number, teacher, threshold, accepted and rejected px in all, by stain and slide, its folder.
    styled: facts of the styled views' manifest, and `generators`: their records with the path of a sheet.
    config_text: campaign.yaml without names and paths.  hashes: what -> hex digest.
    names: by which slides and patients are shown; everything else here still has the real ones.
    """

    config: LearningConfig
    curves: dict[str, list[dict[str, Any]]]
    evaluation: dict[str, Any] | None
    evaluation_folder: Path
    rounds: list[dict[str, Any]]
    styled: dict[str, Any] | None
    config_text: str
    hashes: dict[str, str]
    names: Pseudonyms

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The evaluated steps, in order."""
        return self.evaluation["steps"] if self.evaluation else []

    @property
    def splits(self) -> list[str]:
        return list(self.evaluation["splits"]) if self.evaluation else []


def read_sources(config: LearningConfig, run: Path) -> Sources:
    """Everything that is there by now. Raises UserError for a file that is there and damaged."""
    folder = _phase(run, "evaluate")
    evaluation = read_json(folder / "evaluation.json") if (folder / "evaluation.json").exists() else None
    campaign = run / "campaign.yaml"
    redaction = Redaction(run)
    return Sources(
        config=config,
        curves={step.name: _lines(_phase(run, step.name) / "metrics.jsonl") for step in config.steps},
        evaluation=evaluation,
        evaluation_folder=folder,
        rounds=_rounds(config, run),
        styled=_styled(run),
        config_text=redaction.config(campaign.read_text(encoding="utf-8")) if campaign.exists() else "",
        hashes=_hashes(config, run),
        names=redaction.names,
    )


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
