"""The merge of a round of labels: proof that nothing is missing or twice, the sheet for people, the gate, the manifest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Done, merge
from mlseg_core.files import fingerprint, read_json, sha256_file
from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.class_counts import class_counts
from mlseg_dist.events import Events
from mlseg_dist.labelling.adapting import adaptation_of
from mlseg_dist.labelling.gate import Collapse, Shares, collapses, shares, told
from mlseg_dist.labelling.reliability import measured
from mlseg_dist.labelling.sheet import write_sheet
from mlseg_dist.labelling.thresholds import Harm, expected, settle
from mlseg_dist.labelling.work import MEMBERS, accepting_of, units
from mlseg_dist.run_folder import forget_cleaned, labels_folder, phase_folder, shards_folder, teacher_record
from shards.manifest import (
    Manifest,
    ShardEntry,
    publish_seeds,
    read_manifest,
    totals,
    unpack_seeds,
    write_manifest_file,
)


def write_round(config: LearningConfig, step_index: int, run: Path, folder: Path) -> Path:
    """Prove that every shard of the train split is labelled once, then publish the round's manifest.

    Raises map.Incomplete; RuntimeError for a shard labelled twice or not whole; UserError when a class has collapsed.
    """
    todo = units(config, step_index, run)
    corpus_path = shards_folder(run) / "manifest.json"
    corpus = read_manifest(corpus_path)
    step, number = config.steps[step_index], step_index + 1
    done = merge(todo, folder)
    entries = _entries(done, corpus)
    packed = {next(iter(record.files)): record.facts["seed_of_each"] for record in done}
    accepting, reliability = accepting_of(config, step_index, run), measured(folder)
    hoped = None if reliability is None else expected(accepting, reliability)
    name = None
    if step.label.sheet:
        seeds = {sidecar: unpack_seeds(text) for sidecar, text in packed.items()}
        name = write_sheet(config, step_index, run, folder, corpus, entries, seeds, accepting, hoped)
    accepted, drawn = _summed(entries, "pixels"), _summed(entries, "seeds")
    taught = {c: sum(record.facts["taught"][c] for record in done) for c in CLASSES}
    now, human = Shares(shares(accepted), shares(taught), shares(drawn)), human_shares(config, corpus)
    lost = collapses(now, _accepted_before(step_index, run), human, step.label.min_share_kept)
    events = _events(run, number)
    facts = {"round": number, "teacher": step.name, "accepted": accepted, "drawn": drawn}
    if lost:
        _stop(events, lost, step.name, number, folder / name if name else None, facts)
    _refuse_to_teach_without_a_class(config, step_index, folder, packed, events, facts)
    harms = settle(step.label, reliability)[1] if reliability is not None else []
    if harms:
        _tell_harm(events, harms, step.label.on_harm, step.name, number, folder / name if name else None, facts)
    if not sum(accepted[c] for c in CLASSES):
        told(events, "nothing-accepted", f"round {number}: teacher {step.name} accepts nothing", "warning", **facts)
    manifest = Manifest(
        kind="labels",
        fingerprint=fingerprint([unit.inputs for unit in todo]),
        members=MEMBERS,
        classes=CLASSES,
        views=corpus.views,
        shards=tuple(entries),
        totals=totals(entries),
        parents={
            "corpus": sha256_file(corpus_path),
            "teacher": teacher_record(run, step.name)["sha256"],
        },
        facts={
            "round": number,
            "teacher": step.name,
            "threshold": step.label.threshold,
            "accepting": accepting.to_json(),
            "expected": None if hoped is None else asdict(hoped),
            "harmful": [asdict(harm) for harm in harms],
            "tta": step.label.tta,
            **({"adapted": adaptation_of(config, step_index, run).facts()} if step.label.adapts else {}),
            "accepted": {c: accepted[c] for c in CLASSES},
            "rejected": accepted["rejected"],
            "drawn": drawn,
            "by_slide": _by([entry.slide for entry in entries], entries),
            "by_stain": _by(_stains(corpus, entries), entries),
            "shares": {"accepted": now.accepted, "taught": now.taught, "drawn": now.drawn, "human": human.taught},
            "devices": dict(sorted(Counter(record.facts["device"] for record in done).items())),
            "sheet": name,
            "seeds": publish_seeds(folder, entries, packed),
        },
    )
    write_manifest_file(folder, manifest)
    forget_cleaned(folder)
    text = ", ".join(f"{c} {share:.1%}" for c, share in now.accepted.items()) or "nothing"
    told(events, "round-published", f"round {number}: teacher {step.name} accepts {text}", "info", **facts)
    return folder / "manifest.json"


def _refuse_to_teach_without_a_class(
    config: LearningConfig,
    step_index: int,
    folder: Path,
    packed: dict[str, str],
    events: Events | None,
    facts: dict[str, Any],
) -> None:
    """A step that learns from the round alone draws every class of it. Raises UserError where one has no pair to draw."""
    learner = config.steps[step_index + 1] if step_index + 1 < len(config.steps) else None
    if learner is None or learner.teach != "pseudo":
        return
    drawn = np.bincount(np.concatenate([unpack_seeds(text) for text in packed.values()]), minlength=256)
    missing = [name for place, name in enumerate(CLASSES) if not drawn[place]]
    if missing:
        teacher = config.steps[step_index].name
        what = (
            f"round {step_index + 1}, labelled by {teacher}, has no pair to draw for class {', '.join(missing)}, "
            f"and {learner.name} learns from it alone"
        )
        fix = (
            f"Train {teacher} longer, lower steps.{teacher}.label.threshold, or teach people's labels too: "
            f"mlseg resume RUN steps.{learner.name}.teach=both"
        )
        told(events, "nothing-to-draw", f"{what}. {fix}", "error", **facts)
        raise UserError(what, folder, fix)


def _tell_harm(
    events: Events | None,
    harms: list[Harm],
    on_harm: str,
    teacher: str,
    number: int,
    sheet: Path | None,
    facts: dict[str, Any],
) -> None:
    """Raises UserError where the campaign is to stop."""
    done = {"leave-out": " They are left out.", "tell": " They are taught all the same."}.get(on_harm, "")
    what = f"round {number}, labelled by {teacher}: " + "; ".join(str(harm) for harm in harms)
    told(events, "harmful-labels", f"{what}.{done}", "warning", **facts, harmful=[asdict(harm) for harm in harms])
    if on_harm == "stop":
        fix = (
            f"Train {teacher} longer, or go on without such classes: "
            f"mlseg resume RUN steps.{teacher}.label.on_harm=leave-out"
        )
        raise UserError(what, sheet or "", fix)


def _entries(done: Sequence[Done], corpus: Manifest) -> list[ShardEntry]:
    """In the units' order. Raises RuntimeError unless each shard of the train split is labelled once, with all its samples."""
    train = {shard.name: shard for shard in corpus.of_splits("train")}
    entries: list[ShardEntry] = []
    for record in done:
        (name, file), facts = next(iter(record.files.items())), record.facts
        facts = {key: value for key, value in facts.items() if key not in ("device", "taught", "seed_of_each")}
        source = train.get(facts["of"])
        if source is None:
            raise RuntimeError(f"{name} labels {facts['of']}, which is no shard of the train split")
        if source.samples != facts["samples"]:
            raise RuntimeError(f"{name} labels {facts['samples']} samples of {source.samples} in {source.name}")
        entries.append(ShardEntry(name=name, slide=source.slide, split=source.split, **file, **facts))
    for what in ("of", "name"):
        twice = [value for value, count in Counter(getattr(entry, what) for entry in entries).items() if count > 1]
        if twice:
            raise RuntimeError(f"{twice[0]} is labelled twice" if what == "of" else f"{twice[0]} labels two shards")
    missing = sorted(train.keys() - {entry.of for entry in entries})
    if missing:
        raise RuntimeError(f"{len(missing)} shards are not labelled, such as {missing[0]}")
    return entries


def _summed(entries: Sequence[ShardEntry], part: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for entry in entries:
        total.update(getattr(entry, part))
    return {name: total[name] for name in (*CLASSES, "rejected" if part == "pixels" else "not drawn")}


def _by(groups: Sequence[str], entries: Sequence[ShardEntry]) -> dict[str, dict[str, int]]:
    """Group -> class -> accepted px, and those rejected."""
    parts: dict[str, list[ShardEntry]] = {}
    for group, entry in zip(groups, entries, strict=True):
        parts.setdefault(group, []).append(entry)
    return {group: _summed(part, "pixels") for group, part in sorted(parts.items())}


def _stains(corpus: Manifest, entries: Sequence[ShardEntry]) -> list[str]:
    stain_of = {row.slug: row.stain for row in corpus.slides}
    return [stain_of.get(entry.slide, "unknown") for entry in entries]


def human_shares(config: LearningConfig, corpus: Manifest) -> Shares:
    """In the human labels of the train split: px of the high view, and seeds."""
    pixels, seeds = (class_counts(corpus, config.training_classes, "train", part) for part in ("pixels", "seeds"))
    return Shares({}, shares(pixels), shares(seeds))


def _accepted_before(step_index: int, run: Path) -> dict[str, float]:
    """Shares of what the round before accepted; {} in round 1, or when it is not there."""
    path = labels_folder(run, step_index) / "manifest.json"
    if step_index == 0 or not path.exists():
        return {}
    return shares(read_json(path)["facts"]["accepted"])


def _events(run: Path, number: int) -> Events | None:
    """The label phase's events; None when the round is not part of a campaign."""
    try:
        return Events(phase_folder(run, f"label-{number}"))
    except UserError:
        return None


def _stop(
    events: Events | None, lost: list[Collapse], teacher: str, number: int, sheet: Path | None, facts: dict[str, Any]
) -> None:
    what = f"round {number}, labelled by {teacher}: " + "; ".join(str(collapse) for collapse in lost)
    look = "Look at the contact sheet. Then train" if sheet is not None else "Train"
    fix = (
        f"{look} {teacher} longer, or lower steps.{teacher}.label.threshold; "
        f"or go on all the same: mlseg resume RUN steps.{teacher}.label.min_share_kept=0"
    )
    told(events, "class-collapse", f"{what}. {fix}", "error", **facts, collapsed=[c.name for c in lost])
    raise UserError(what, sheet or "", fix)
