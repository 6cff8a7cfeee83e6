"""A folder of shards: manifest, every listed shard on many processes, what lies there unlisted. In: folder. Out: Report.

All damage is found; nothing stops at the first. Memory: one sample a process, and one slide's keys.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.progress import Progress
from shards.manifest import Manifest, ShardEntry, read_manifest, totals
from shards.sample import MEMBERS
from shards.slide_table import SPLITS
from shards.verify.beside import left_over, overview_faults, seed_faults
from shards.verify.finding import Finding
from shards.verify.shard import ShardFacts, verify_shard

MANIFEST = "manifest.json"
_MEMBERS = {
    "corpus": MEMBERS,
    "labels": ("high.png", "json", "low.png"),
    "styled": ("high.jpg", "json", "low.jpg"),
}


@dataclass
class Report:
    """What was found. damage: the corpus must not be used; warnings: it may. Counts are of what was read."""

    damage: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    shards: int = 0
    samples: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        return not self.damage

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def verify_corpus(folder: Path, workers: int) -> Report:
    """Prove the corpus (or the round of labels, or the styled views) in `folder` on `workers` processes; progress goes to stdout.

    Raises UserError when the folder holds no manifest.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError("no manifest.json in the folder", folder, "Give the folder that `mlseg shards build` wrote.")
    report = Report()
    try:
        manifest = read_manifest(folder / MANIFEST)
    except UserError as error:
        report.damage.append(Finding(MANIFEST, "", error.what))
        return report
    report.damage += [Finding(MANIFEST, "", what) for what in _manifest_faults(manifest)]
    if not _readable(manifest):
        return report
    names = Counter(entry.name for entry in manifest.shards)
    listed = [entry for entry in manifest.shards if names[entry.name] == 1]
    said = _verify_shards(folder, manifest, listed, workers, report)
    report.damage += seed_faults(folder, manifest, said if manifest.kind == "corpus" else {})
    report.damage += overview_faults(folder, manifest)
    report.warnings += left_over(folder, manifest)
    return report


def _verify_shards(
    folder: Path, manifest: Manifest, listed: list[ShardEntry], workers: int, report: Report
) -> dict[str, np.ndarray]:
    """Returns shard name -> uint8 (samples,): the seeds that they say."""
    progress = Progress("verify", sum(entry.samples for entry in listed), "samples")
    targets = manifest.facts.get("targets", {})  # of styled views: each target has every key of its slides
    listed = sorted(listed, key=lambda entry: (entry.slide, targets.get(entry.name, ""), entry.name))
    at_hand = ("", "")
    # key -> shard, of the slide and target at hand: a key that names another slide is damage already
    holder: dict[bytes, str] = {}
    said: dict[str, np.ndarray] = {}
    for entry, facts in zip(listed, _facts(folder, manifest, listed, workers), strict=True):
        report.damage += facts.damage
        report.shards += 1
        report.samples += len(facts.keys)
        report.bytes += facts.bytes
        said[entry.name] = facts.seeds
        if at_hand != (entry.slide, targets.get(entry.name, "")):
            at_hand, holder = (entry.slide, targets.get(entry.name, "")), {}
        for key in facts.keys.tolist():
            if holder.setdefault(key, entry.name) != entry.name:
                report.damage.append(Finding(entry.name, key.decode(), f"the key is also in {holder[key]}"))
        progress.advance(entry.samples, entry.name)
    progress.finish()
    return said


def _facts(folder: Path, manifest: Manifest, listed: list[ShardEntry], workers: int) -> Iterator[ShardFacts]:
    if workers == 1 or len(listed) < 2:
        yield from (verify_shard(folder, manifest, entry) for entry in listed)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(listed)), context, _open, (folder, manifest)) as pool:
        yield from pool.map(_verify_one, listed)


_opened: list[tuple[Path, Manifest]] = []  # of this process: the manifest is sent once, not with every shard


def _open(folder: Path, manifest: Manifest) -> None:
    _opened.append((folder, manifest))


def _verify_one(entry: ShardEntry) -> ShardFacts:
    return verify_shard(*_opened[-1], entry)


def _readable(manifest: Manifest) -> bool:
    views = manifest.views
    return (
        {"high_mpp", "low_mpp", "store_px"} <= set(views)
        and all(value > 0 for value in views.values())
        and views["low_mpp"] >= 2 * views["high_mpp"]
        and manifest.members == _MEMBERS[manifest.kind]
        and 0 < len(set(manifest.classes)) == len(manifest.classes) < 256
        and (manifest.kind != "labels" or _says_what_it_accepts(manifest))
        and (manifest.kind != "styled" or isinstance(manifest.facts.get("targets"), dict))
    )


def _says_what_it_accepts(manifest: Manifest) -> bool:
    """A threshold for all classes; or for each class of a view, where null accepts none of it."""
    if "accepting" not in manifest.facts:
        return isinstance(manifest.facts.get("threshold"), int | float)
    views = manifest.facts["accepting"]
    return (
        isinstance(views, dict)
        and views.keys() == {"high", "low"}
        and all(
            isinstance(of_class, dict)
            and of_class.keys() == set(manifest.classes)
            and all(threshold is None or isinstance(threshold, int | float) for threshold in of_class.values())
            for of_class in views.values()
        )
    )


def _manifest_faults(manifest: Manifest) -> Iterator[str]:
    """What is wrong with the manifest alone."""
    if not _readable(manifest):
        yield f"views, members, classes or facts are not those of {manifest.kind} shards: nothing below it can be checked"
    for name, count in Counter(entry.name for entry in manifest.shards).items():
        if count > 1:
            yield f"lists {name} {count} times"
    true = totals(manifest.shards)
    for name in sorted({*true, *manifest.totals}):
        if true.get(name) != manifest.totals.get(name):
            yield f"totals say {manifest.totals.get(name)} {name}, the shards add up to {true.get(name)}"
    for entry in manifest.shards:
        if entry.split not in SPLITS:
            yield f"{entry.name} is of split {entry.split!r}, which does not exist"
    yield from {"corpus": _slide_faults, "labels": _label_faults, "styled": _styled_faults}[manifest.kind](manifest)


def _slide_faults(manifest: Manifest) -> Iterator[str]:
    split_of: dict[str, str] = {}
    for row in manifest.slides:
        if split_of.setdefault(row.patient, row.split) != row.split:
            yield f"patient {row.patient!r} is in two splits, {split_of[row.patient]} and {row.split}: {row.slide} leaks"
    rows = {row.slug: row for row in manifest.slides}
    for slug, count in Counter(row.slug for row in manifest.slides).items():
        if count > 1:
            yield f"lists slide {slug} {count} times"
    for entry in manifest.shards:
        if entry.slide not in rows:
            yield f"{entry.name} is of slide {entry.slide!r}, which has no row"
        elif rows[entry.slide].quarantined:
            yield f"{entry.name} is of slide {entry.slide}, which is in quarantine"
        elif entry.split != rows[entry.slide].split:
            yield f"{entry.name} is of split {entry.split}, its slide of {rows[entry.slide].split}"


def _label_faults(manifest: Manifest) -> Iterator[str]:
    for name, count in Counter(entry.of for entry in manifest.shards).items():
        if not name or count > 1:
            yield f"{count} sidecars speak of {name or 'no shard'}"
    for fact, part in (("accepted", "pixels"), ("drawn", "seeds")):
        said = manifest.facts.get(fact)
        for name, number in said.items() if isinstance(said, dict) else ():
            true = sum(getattr(entry, part).get(name, 0) for entry in manifest.shards)
            if number != true:
                yield f"{fact} says {number} of {name}, the shards add up to {true}"


def _styled_faults(manifest: Manifest) -> Iterator[str]:
    targets = manifest.facts.get("targets")
    if not isinstance(targets, dict):  # told already
        return
    for name in sorted({entry.name for entry in manifest.shards} ^ set(targets)):
        yield f"{name} is listed among the shards or among their targets, not in both"
    for (of, target), count in Counter((entry.of, targets.get(entry.name)) for entry in manifest.shards).items():
        if not of or count > 1:
            yield f"{count} sidecars show {of or 'no shard'} as {target}"
