"""When a phase is done: its manifest is published and done.json says so under the fingerprint that the config asks for.

A phase's fingerprint hashes its kind, recipe_version, the config that concerns it and the manifests of its inputs.
"""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from launch.config import CampaignConfig
from launch.graph import Phase
from launch.growth import Growth, keeps_shards
from launch.phase_time import begun
from launch.phases import MapKind, kind_of
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, publish_first, read_json, sha256_file, temporary_beside, write_json
from mlseg_dist.run_folder import is_cleaned

CompletionState = Literal["done", "missing", "stale"]


@dataclass(frozen=True)
class Completion:
    """Whether a phase is done, by its files.

    why: what made it stale. A phase that was begun under another config is stale too, as parts of it are there.
    done: the content of done.json, or of state.json while there is none. keeps: its outputs stay where they are when it is done
    again, as its units know by themselves which of them are valid.
    """

    phase: Phase
    state: CompletionState
    why: str = ""
    done: dict[str, Any] = field(default_factory=dict)
    keeps: bool = False


def survey(
    config: CampaignConfig, graph: Sequence[Phase], run: RunFolder, grown: Growth | None = None
) -> list[Completion]:
    """The completion of every phase under `config`. Cheap: stats files, hashes only what was touched.

    grown: what changed in the corpus and is to be taken in; the shards are stale then.
    """
    completions: dict[str, Completion] = {}
    for phase in graph:
        completion = _stand(config, phase, run, completions)
        if phase.kind == "shards":
            completion = _taking_in(completion, config, run, grown)
        completions[phase.name] = completion
    return [_needed(completion, completions, run) for completion in completions.values()]


def _taking_in(completion: Completion, config: CampaignConfig, run: RunFolder, grown: Growth | None) -> Completion:
    """The shards, stale if the corpus has grown; they stay in place where only slides changed."""
    if grown is not None and completion.state != "missing":
        return replace(completion, state="stale", why=str(grown), keeps=True)
    return replace(completion, keeps=True) if completion.state == "stale" and keeps_shards(config, run) else completion


def _needed(completion: Completion, completions: dict[str, Completion], run: RunFolder) -> Completion:
    """Tars that `mlseg clean` removed are missed once a phase that reads them is to be done again: then theirs is stale."""
    phase, kind = completion.phase, kind_of(completion.phase)
    if completion.state != "done" or not isinstance(kind, MapKind) or not is_cleaned(kind.folder(run, phase)):
        return completion
    readers = [
        name for name, other in completions.items() if phase.name in other.phase.inputs and other.state != "done"
    ]
    if not readers:
        return completion
    return Completion(phase, "stale", f"its shards were cleaned away, and {readers[0]} needs them", completion.done)


def _stand(config: CampaignConfig, phase: Phase, run: RunFolder, before: dict[str, Completion]) -> Completion:
    path = run.phase(phase) / "done.json"
    is_done = path.exists()
    record = read_json(path) if is_done else run.state(phase)
    if "recipe" not in record:
        return Completion(phase, "missing")
    stale_inputs = [name for name in phase.inputs if before[name].state == "stale"]
    if record["recipe"] not in accepted_recipe_hashes(config, phase):
        return Completion(phase, "stale", "its config changed", record)
    if stale_inputs:
        return Completion(phase, "stale", f"its input {stale_inputs[0]} is to be redone", record)
    outputs = {name: before[name].done["outputs"]["sha256"] for name in phase.inputs if before[name].state == "done"}
    if any(record["inputs"].get(name) != sha256 for name, sha256 in outputs.items()):
        return Completion(phase, "stale", "an input was made anew since", record)
    if not is_done:
        return Completion(phase, "missing")
    if not _unchanged(run.path / record["outputs"]["path"], record["outputs"]):
        return Completion(phase, "stale", f"{record['outputs']['path']} was changed or removed since", record)
    return Completion(phase, "done", "", record)


def _unchanged(path: Path, facts: dict[str, Any]) -> bool:
    if not path.exists() or path.stat().st_size != facts["bytes"]:
        return False
    return path.stat().st_mtime_ns == facts["mtime_ns"] or sha256_file(path) == facts["sha256"]


def input_hashes(graph: Sequence[Phase], phase: Phase, run: RunFolder) -> dict[str, str]:
    """sha256 of the manifest of each input phase. Raises UserError when one is not done."""
    hashes = {}
    for other in graph:
        if other.name in phase.inputs:
            path = run.phase(other) / "done.json"
            if not path.exists():
                raise UserError(
                    f"phase {phase.name} reads phase {other.name}, which is not done", run.path, "Run that phase first."
                )
            hashes[other.name] = read_json(path)["outputs"]["sha256"]
    return hashes


def phase_fingerprint(config: CampaignConfig, phase: Phase, inputs: dict[str, str]) -> str:
    """Identity of the phase's results: what they are made from, and how."""
    return fingerprint({"recipe": recipe_hash(config, phase), "inputs": inputs})


def is_done(config: CampaignConfig, graph: Sequence[Phase], phase: Phase, run: RunFolder) -> bool:
    """True if done.json has the current fingerprint and the manifest is unchanged."""
    return any(completion.phase == phase and completion.state == "done" for completion in survey(config, graph, run))


def publish_done(
    config: CampaignConfig, phase: Phase, run: RunFolder, inputs: dict[str, str], started: float, attempt: str
) -> bool:
    """Write done.json, first-wins; False when another attempt was first. Raises UserError without a manifest."""
    manifest = kind_of(phase).manifest(run, phase)
    if not manifest.exists():
        raise UserError(f"phase {phase.name} ended without its manifest", manifest, "Look at the phase's log.")
    facts = manifest.stat()
    done = {
        "phase": phase.name,
        "kind": phase.kind,
        "fingerprint": phase_fingerprint(config, phase, inputs),
        "recipe": recipe_hash(config, phase),
        "inputs": inputs,
        "outputs": {
            "path": str(manifest.relative_to(run.path)),
            "sha256": sha256_file(manifest),
            "bytes": facts.st_size,
            "mtime_ns": facts.st_mtime_ns,
        },
        "code": run.frozen().get("hash", ""),
        "attempt": attempt,
        "host": socket.gethostname(),
        "ended": time.time(),
        "seconds": round(time.time() - started, 1),
        **begun(run, phase, started),
    }
    target = run.phase(phase) / "done.json"
    temporary = temporary_beside(target)
    write_json(temporary, done)
    return publish_first(temporary, target)


def set_aside(completions: Sequence[Completion], run: RunFolder) -> None:
    """Move the stale phases and their outputs out of the way, last phase first.

    done.json goes last: after a kill halfway the phase is still known to be stale.
    """
    for completion in reversed(completions):
        if completion.state == "stale":
            outputs = () if completion.keeps else kind_of(completion.phase).outputs(run, completion.phase)
            for path in (*outputs, run.phase(completion.phase)):
                run.set_aside(path)


def recipe_hash(config: CampaignConfig, phase: Phase) -> str:
    """Hash of what decides the phase's results, apart from its inputs."""
    return _hash_of(config, phase, kind_of(phase).recipe_version)


def accepted_recipe_hashes(config: CampaignConfig, phase: Phase) -> set[str]:
    """recipe_hash(), and those of earlier code whose results are still good: such runs continue with their frozen code."""
    kind = kind_of(phase)
    return {_hash_of(config, phase, version) for version in (kind.recipe_version, *kind.earlier_recipes)}


def _hash_of(config: CampaignConfig, phase: Phase, version: int) -> str:
    return fingerprint([phase.kind, version, kind_of(phase).concerns(config, phase)])
