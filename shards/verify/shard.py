"""One tar against its index, its manifest entry and its slide's row. In: folder, manifest, entry. Out: all that is wrong.

Read once, front to back, one sample in memory.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from shards.annotation import EXCLUDED_PX, UNLABELLED
from shards.manifest import Manifest, ShardEntry, SlideEntry
from shards.outside import OUTSIDE
from shards.tar import NAME, NO_SEED, Place, array_of, index_type, pack, wds2idx_text
from shards.verify import sample
from shards.verify.finding import Finding
from shards.verify.sample import info_faults
from shards.verify.scan import HashedFile, Member, scan

_COLUMNS = {
    "offset": "starts elsewhere than",
    "size": "has another size than",
    "crc32c": "is damaged: its crc32c is not that of",
}


@dataclass
class ShardFacts:
    """What a tar holds. keys: S64, in the tar's order; seeds: uint8, what their JSON says, 255: nothing; bytes: of the file."""

    damage: list[Finding] = field(default_factory=list)
    keys: np.ndarray = field(default_factory=lambda: np.empty(0, "S64"))
    seeds: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    bytes: int = 0


def verify_shard(folder: Path, manifest: Manifest, entry: ShardEntry) -> ShardFacts:
    """Everything that is wrong with one shard; damage is returned, never raised."""
    check = _Check(folder, manifest, entry)
    try:
        check.run()
    except OSError as error:
        check.note("", f"cannot be read ({error.strerror})")
    return check.facts


class _Check:
    def __init__(self, folder: Path, manifest: Manifest, entry: ShardEntry) -> None:
        self.path, self.manifest, self.entry = folder / entry.name, manifest, entry
        self.facts = ShardFacts()
        self.row: SlideEntry | None = next((row for row in manifest.slides if row.slug == entry.slide), None)
        self.side = round(manifest.views["store_px"])
        self.accepted = _accepted(manifest) if manifest.kind == "labels" else np.ones(256, bool)
        self.seeds = np.zeros(256, np.int64)
        self.pixels = np.zeros(256, np.int64)
        self.counted = True  # every JSON and every label of the high view could be read
        self.whole: list[tuple] = []  # rows of the index as the tar gives it
        self.said: list[int] = []  # class at the seed, sample by sample

    def note(self, key: str, what: str, file: Path | None = None) -> None:
        self.facts.damage.append(Finding((file or self.path).name, key, what))

    def run(self) -> None:
        if not self.path.is_file():
            self.note("", "is missing")
            return
        index = self._index()
        indexed = {} if index is None else {row["key"].decode("ascii", "replace"): row for row in index}
        keys: list[str] = []
        seen: set[str] = set()
        with open(self.path, "rb") as raw:
            file = HashedFile(raw)
            end: Member | None = None
            for key, members in itertools.groupby(scan(file, lambda what: self.note("", what)), _key):
                if end is not None:
                    self.note(key, "comes after the index")
                if key == NAME:
                    end = next(members)
                    continue
                if key in seen:
                    self.note(key, "the key appears twice")
                elif keys and key < keys[-1]:
                    self.note(key, f"comes after {keys[-1]}: the keys are not in ascending order")
                keys.append(key)
                seen.add(key)
                self._sample(key, list(members), indexed.pop(key, None), index is not None)
        for key in indexed:
            self.note(key, "is in the index, not in the tar")
        self.facts.seeds = np.array(self.said, np.uint8)
        self.facts.keys = np.array([key.encode()[:64] for key in keys], "S64")
        self._file_facts(file, len(keys))
        if not any(found.shard == self.path.name for found in self.facts.damage):
            self._same_index(end)

    def _index(self) -> np.ndarray | None:
        """The index as a reader gets it, None when it cannot be used."""
        with open(self.path, "rb") as file:
            try:
                place = Place.find(file.fileno())
                npy = place.npy(file.fileno())
                index = array_of(npy)
            except ValueError as error:
                self.note("", f"has {error}")
                return None
        if hashlib.sha256(npy).hexdigest() != self.entry.index_sha256:
            self.note("", "its index is not the manifest's: its sha256 differs")
        if index.dtype != index_type(len(self.manifest.members)) or index.ndim != 1:
            self.note("", f"its index is not one of {len(self.manifest.members)} members")
            return None
        return index

    def _same_index(self, end: Member | None) -> None:
        """The index of a sound tar is, byte by byte, the one that its samples give; its text form for DALI says the same."""
        expected = np.array(self.whole, index_type(len(self.manifest.members)))
        if end is None or end.data != pack(expected, end.offset):
            self.note("", "its index is not the one that its samples give")
        text = self.path.with_suffix(".idx")
        if text.is_file():
            if text.read_bytes() != wds2idx_text(expected, self.manifest.members).encode():
                self.note("", "does not say what the tar holds", text)
        elif self.manifest.kind == "corpus":
            self.note("", "is missing", text)

    def _file_facts(self, file: HashedFile, samples: int) -> None:
        self.facts.bytes = file.position
        if file.position != self.entry.bytes:
            self.note("", f"has {file.position} bytes, the manifest says {self.entry.bytes}")
        if file.sha256() != self.entry.sha256:
            self.note("", "is not the file of the manifest: its sha256 differs")
        if samples != self.entry.samples:
            self.note("", f"holds {samples} samples, the manifest says {self.entry.samples}")
        if self.manifest.kind == "labels" and sum(self.entry.seeds.values()) != self.entry.samples:
            self.note("", f"seeds add up to {sum(self.entry.seeds.values())}, not {self.entry.samples}")
        if self.counted:
            self._counts("px", self.pixels, self._said_of_pixels())
        if self.counted and self.manifest.kind == "corpus":
            self._counts("seeds", self.seeds, self.entry.seeds)

    def _said_of_pixels(self) -> dict[str, int]:
        """Class -> px. A round's labels do not tell a rejected pixel from one that lies outside of the slide."""
        said = dict(self.entry.pixels)
        if self.manifest.kind == "labels" and OUTSIDE in said:
            said["rejected"] = said.get("rejected", 0) + said.pop(OUTSIDE)
        return said

    def _counts(self, unit: str, counted: np.ndarray, said: dict[str, int]) -> None:
        names = (*self.manifest.classes, *(("rejected",) if self.manifest.kind == "labels" else ()))
        ids = [*range(len(self.manifest.classes)), UNLABELLED]
        for name, number in zip(names, ids, strict=False):
            if counted[number] != said.get(name, 0):
                self.note("", f"{counted[number]} {unit} of {name}, the manifest says {said.get(name, 0)}")
        for name in sorted(set(said) - set(names)):
            self.note("", f"the manifest counts {unit} of {name}, which is not a class")

    def _sample(self, key: str, found: list[Member], row: Any, has_index: bool) -> None:
        members = {member.name.partition(".")[2]: member for member in reversed(found)}
        names = [member.name.partition(".")[2] for member in found]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                self.note(key, f"{name} is there {names.count(name)} times: the key appears twice")
            if name not in self.manifest.members:
                self.note(key, f"{name!r} is not a member of these shards")
        missing = [name for name in self.manifest.members if name not in members]
        for name in missing:
            self.note(key, f"{name} is missing")
        if key.partition("+")[0] != self.entry.slide:
            self.note(key, f"is a sample of another slide than {self.entry.slide}")
        if row is None and has_index:
            self.note(key, "is in the tar, not in the index")
        self.said.append(
            self._contents(key, {name: members[name].data for name in self.manifest.members if name in members})
        )
        if missing:
            return
        parts = [members[name] for name in self.manifest.members]
        facts = {
            "offset": [part.offset for part in parts],
            "size": [len(part.data) for part in parts],
            "crc32c": [google_crc32c.value(part.data) for part in parts],
        }
        for column, values in facts.items() if row is not None else ():
            for name, value, indexed in zip(self.manifest.members, values, row[column], strict=True):
                if value != indexed:
                    self.note(key, f"{name} {_COLUMNS[column]} the index")
        self.whole.append((key.encode(), *facts.values()))

    def _contents(self, key: str, data: dict[str, bytes]) -> int:
        """Check JSON and images; returns the id of the seed's class."""
        info = self._json(key, data["json"]) if "json" in data else None
        images = dict(self._images(key, data))
        self.counted &= info is not None and "high.png" in images
        if "high.png" in images:
            counts = sample.histogram(self._classes(images["high.png"]))
            self.pixels += counts
            if info is not None and self.manifest.kind == "corpus":
                true = {name: int(counts[i]) for i, name in enumerate(self.manifest.classes) if counts[i]}
                if info.get("pixels") != true:
                    self.note(key, f"json says pixels {info.get('pixels')!r}, the label has {true!r}")
        if self.manifest.kind == "labels":
            return NO_SEED
        if self.manifest.kind == "styled":
            self._pair(key, images, None)
            return NO_SEED
        known = info is not None and info.get("seed_class", "") in (None, *self.manifest.classes)
        name = info["seed_class"] if info is not None and known else None
        number = NO_SEED if name is None else self.manifest.classes.index(name)
        if number != NO_SEED:
            self.seeds[number] += 1
        self._pair(key, images, (number, name or "unlabelled") if known else None)
        return number

    def _pair(self, key: str, images: dict[str, np.ndarray], seed: tuple[int, str] | None) -> None:
        views, labels = (
            {view: images[f"{view}.{end}"] for view in ("high", "low") if f"{view}.{end}" in images}
            for end in ("jpg", "png")
        )
        mpp = (self.manifest.views["high_mpp"], self.manifest.views["low_mpp"])
        for member, what in sample.pair_faults(views, labels, mpp, seed):
            self.note(key, f"{member} {what}")

    def _images(self, key: str, data: dict[str, bytes]) -> Iterator[tuple[str, np.ndarray]]:
        """Members that decode to what they should be."""
        corpus = self.manifest.kind == "corpus"
        for name in data:
            try:
                if name.endswith(".jpg"):
                    yield name, sample.decode_jpeg(data[name], self.side)
                elif name.endswith(".png"):
                    label = sample.decode_png(data[name])
                    sample.check_shape(label, self.side, (1,) if corpus else (1, 2, 4))
                    values = len(self.manifest.classes) * (1 if corpus else sample.LEVELS)
                    also = (EXCLUDED_PX, UNLABELLED) if corpus else (UNLABELLED,)
                    if fault := sample.value_fault(label, values, also):
                        self.note(key, f"{name} {fault}")
                    yield name, label
            except ValueError as error:
                self.note(key, f"{name} {error}")

    def _classes(self, label: np.ndarray) -> np.ndarray:
        """Fine classes; of a sidecar the classes that its round accepts."""
        if self.manifest.kind == "corpus":
            return label
        accepted = self.accepted[label]
        return np.where(accepted, label // sample.LEVELS, UNLABELLED)

    def _json(self, key: str, data: bytes) -> dict[str, Any] | None:
        try:
            info = json.loads(data)
        except (ValueError, RecursionError) as error:
            self.note(key, f"json cannot be read ({error})")
            return None
        if not isinstance(info, dict):
            self.note(key, "json is not a JSON object")
            return None
        for what in info_faults(info, key, self.manifest, self.row, self.entry.name):
            self.note(key, f"json {what}")
        return info


def _accepted(manifest: Manifest) -> np.ndarray:
    """Code of the high view -> whether its round accepts it, bool (256,). Earlier rounds have one threshold for all classes."""
    facts = manifest.facts
    of_class = (
        facts["accepting"]["high"] if "accepting" in facts else dict.fromkeys(manifest.classes, facts["threshold"])
    )
    found = np.zeros(256, bool)
    for number, name in enumerate(manifest.classes):
        threshold, first = of_class[name], number * sample.LEVELS
        if threshold is not None:
            found[first + round(threshold * (sample.LEVELS - 1)) : first + sample.LEVELS] = True
    return found


def _key(member: Member) -> str:
    return member.name.partition(".")[0]
