"""Taking over phases that another run has finished: an equal fingerprint means equal results.

In: a run folder, and others. Out: phases in it that are done. Large files that are never written again become hard links, where
the file system has them; everything else is copied. A phase counts as done once its done.json is there, which comes last.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from launch.completion import Completion, phase_fingerprint, survey
from launch.config import CampaignConfig
from launch.graph import Phase
from launch.phases import kind_of
from launch.run_folder import RunFolder
from mlseg_core.files import fsync_folder, publish_first, read_json, temporary_beside, write_json

_NEVER_WRITTEN_AGAIN = (".tar", ".tif", ".pt", ".geojson")


def adopt(config: CampaignConfig, graph: Sequence[Phase], run: RunFolder, others: Iterable[RunFolder]) -> list[str]:
    """Take over what is not done in `run` and is done in one of the others; returns the names of these phases.

    The run folder has been prepared, and nobody works in it.
    """
    finished = _finished(others)
    taken = []
    for phase in graph:
        completions = {completion.phase.name: completion for completion in survey(config, graph, run)}
        if completions[phase.name].state != "missing":
            continue
        inputs = _inputs(phase, completions)
        found = finished.get(phase_fingerprint(config, phase, inputs)) if inputs is not None else None
        if found is None or (run.phase(phase)).exists():
            continue
        _take(phase, run, *found)
        taken.append(phase.name)
    return taken


def _finished(others: Iterable[RunFolder]) -> dict[str, tuple[RunFolder, Path]]:
    """Fingerprint -> a run and the folder of a phase that is done in it, manifest and all."""
    found: dict[str, tuple[RunFolder, Path]] = {}
    for other in others:
        for path in sorted(other.path.glob("phases/[0-9][0-9]*-*/done.json")):
            record = read_json(path)
            manifest = other.path / record["outputs"]["path"]
            if manifest.exists() and manifest.stat().st_size == record["outputs"]["bytes"]:
                found.setdefault(record["fingerprint"], (other, path.parent))
    return found


def _inputs(phase: Phase, completions: dict[str, Completion]) -> dict[str, str] | None:
    """sha256 of each input's manifest; None while one of them is not done."""
    before = {name: completions[name] for name in phase.inputs}
    if any(completion.state != "done" for completion in before.values()):
        return None
    return {name: completion.done["outputs"]["sha256"] for name, completion in before.items()}


def _take(phase: Phase, run: RunFolder, other: RunFolder, folder: Path) -> None:
    number, _, name = folder.name.partition("-")
    theirs = Phase(int(number), name, phase.kind, phase.inputs, phase.step)
    pairs = zip(kind_of(phase).outputs(other, theirs), kind_of(phase).outputs(run, phase), strict=True)
    for source, target in (*pairs, (folder, run.phase(phase))):
        if target != run.report and source.exists():
            _copy(source, target)
    done = read_json(folder / "done.json")
    manifest = kind_of(phase).manifest(run, phase)
    done["outputs"] |= {"path": str(manifest.relative_to(run.path)), "mtime_ns": manifest.stat().st_mtime_ns}
    target = run.phase(phase) / "done.json"
    temporary = temporary_beside(target)
    write_json(temporary, {**done, "adopted_from": other.path.name})
    publish_first(temporary, target)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder of files without done.json, which says that the phase is done and comes last."""
    for root, folders, files in os.walk(source):
        folders.sort()
        here = target / Path(root).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in sorted(files):
            if name == "done.json" and Path(root) == source and source.parent.name == "phases":
                continue
            _copy_file(Path(root) / name, here / name)
        fsync_folder(here)


def _copy_file(source: Path, target: Path) -> None:
    if target.exists():
        return  # of an adoption that was cut short
    if source.suffix in _NEVER_WRITTEN_AGAIN:
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    temporary = temporary_beside(target)
    shutil.copy2(source, temporary)
    os.replace(temporary, target)
