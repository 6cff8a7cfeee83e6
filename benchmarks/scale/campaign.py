"""A run folder of any size, halfway through the recommended campaign: manifests, records and plans as the product writes them.

Shards, base, label-1 and master-1 are done; label-2 has its teacher and no sidecar yet. There are no tars and no pixels.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.bare_corpus import write_corpus
from benchmarks.common.processes import ROOT
from launch.completion import publish_done, recipe_hash, survey
from launch.config import CampaignConfig, load_campaign
from launch.graph import Phase, build_graph
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, publish_plan
from mlseg_core.config import dump_config
from mlseg_core.csv_text import write_rows
from mlseg_core.files import sha256_file, write_atomic, write_json
from mlseg_dist.config import CLASSES
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.manifest import Manifest, ShardEntry, SlideEntry, read_manifest, read_seeds, write_manifest_file
from shards.slide_table import REQUIRED

STEP = 1
"""Index of the step whose teacher labels the round that is measured."""
ROUND = STEP + 1
PX = {"high": 768**2, "label": 384**2}
_DONE = ("shards", "base", "label-1", "master-1")


def settings(folder: Path) -> list[str]:
    """Overrides of configs/recommended.yaml: where it lies, and no contact sheet, as there is nothing to see."""
    sheets = [f"steps.{name}.label.sheet=0" for name in ("base", "master-1")]
    return [f"runs={folder}", "name=scale", f"slides={folder / 'slides.csv'}", "cluster.executor=local", *sheets]


def make_campaign(folder: Path, pairs: int, shards: int) -> RunFolder:
    """folder: existing and empty. Deterministic but for times."""
    config = load_campaign(ROOT / "configs/recommended.yaml", settings(folder))
    run, graph = RunFolder.of(config), build_graph(config)
    corpus, labels = write_corpus(run.data, pairs, shards)
    labels.rename(labels_folder(run.path, 1))
    manifest = read_manifest(corpus / "manifest.json")
    write_atomic(folder / "slides.csv", write_rows(_table(manifest.slides)))
    for slide in manifest.slides:
        (folder / slide.slide).touch()
    dump_config(config, run.config_path)
    write_json(run.code / "frozen.json", {"hash": "0" * 64, "folder": str(ROOT)})
    _count_classes(corpus, PX["high"], manifest.classes)
    for phase in graph:
        if phase.name in _DONE:
            _finish(config, run, phase)
    unfinished = next(phase for phase in graph if phase.name == f"label-{ROUND}")
    inputs = _inputs(config, run, unfinished)
    facts = {"status": "interrupted", "recipe": recipe_hash(config, unfinished), "inputs": inputs}
    run.write_state(unfinished, **facts)
    jobs = {phase.name: {"work": str(100 + phase.number)} for phase in graph if phase.kind != "label"}
    jobs |= {p.name: {"work": str(200 + p.number), "merge": str(300 + p.number)} for p in graph if p.kind == "label"}
    for number in range(1, 21):  # a campaign that was preempted a lot
        publish_plan(
            run, JobPlan(number, "person" if number == 1 else "replan", jobs, dict.fromkeys(jobs, "interrupted"))
        )
    return run


def _table(slides: Sequence[SlideEntry]) -> Iterator[Sequence[str]]:
    """Yield the slide table's header and a row for each slide of the corpus."""
    yield REQUIRED
    for slide in slides:
        yield slide.slide, slide.patient, slide.stain, slide.scanner, slide.source, slide.split, ""


def _finish(config: CampaignConfig, run: RunFolder, phase: Phase) -> None:
    """Publish the phase as its job would."""
    folder = run.phase(phase)
    folder.mkdir(parents=True, exist_ok=True)
    if phase.kind == "train":
        teacher = {"weights": "teacher.pt", "sha256": f"{phase.number:064x}", "step": 1, "miou": 0.5}
        write_json(folder / "teacher.json", teacher)
    if phase.kind == "label":
        _believable(config, run)
    publish_done(config, phase, run, _inputs(config, run, phase), time.time(), "1-0")


def _inputs(config: CampaignConfig, run: RunFolder, phase: Phase) -> dict[str, str]:
    done = {completion.phase.name: completion.done for completion in survey(config, build_graph(config), run)}
    return {name: done[name]["outputs"]["sha256"] for name in phase.inputs}


def _count_classes(folder: Path, px: int, names: tuple[str, ...]) -> Manifest:
    """Give every entry of a manifest its counts of seeds and px, from the seeds that lie beside it."""
    manifest = read_manifest(folder / "manifest.json")
    seeds = np.split(read_seeds(folder, manifest), np.cumsum([shard.samples for shard in manifest.shards])[:-1])
    entries = []
    for shard, part in zip(manifest.shards, seeds, strict=True):
        counts = np.bincount(part, minlength=256)
        drawn = {name: int(counts[number]) for number, name in enumerate(names)}
        entries.append(shard.model_copy(update={"seeds": drawn, "pixels": {n: c * px for n, c in drawn.items()}}))
    manifest = manifest.model_copy(update={"shards": tuple(entries)})
    write_manifest_file(folder, manifest)
    return manifest


def _believable(config: CampaignConfig, run: RunFolder) -> None:
    """Round 1's manifest as a merge of this campaign writes it."""
    folder, corpus = labels_folder(run.path, 1), shards_folder(run.path) / "manifest.json"
    manifest = _count_classes(folder, PX["label"], CLASSES)
    accepted = added_up(manifest.shards)
    parents = {"corpus": sha256_file(corpus), "teacher": f"{_number(config, 'base'):064x}"}
    facts = manifest.facts | {"round": 1, "teacher": "base", "accepted": accepted}
    write_manifest_file(folder, manifest.model_copy(update={"parents": parents, "facts": facts}))


def added_up(entries: tuple[ShardEntry, ...]) -> dict[str, int]:
    """Class -> px."""
    total: Counter[str] = Counter()
    for entry in entries:
        total.update(entry.pixels)
    return dict(total)


def _number(config: CampaignConfig, name: str) -> int:
    return next(phase.number for phase in build_graph(config) if phase.name == name)
