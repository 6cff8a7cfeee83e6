"""Which files of a corpus are superseded and may be deleted: those that our own records name, or that prove to be ours.

A corpus may lie in a folder that holds somebody's slides and notes. A file goes only when a done record, or one that a newer build
has replaced (`superseded/`), names it with its size and its content agrees; or, for what builds left before such records were kept,
when its name has exactly our form and its content says that it is ours (evidence.py). Anything else that looks like ours is left
alone and named; all other files are not even looked at.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import read_all_done, read_superseded
from mlseg_core.exactly_once.run import Unit
from mlseg_core.store import Folder, Store, open_store
from shards.cutting.evidence import has_own_form, is_as_recorded, is_ours
from shards.manifest import Manifest, parse_manifest, seeds_name

_BY_RECORD = "a record of an earlier build names it"
_BY_DONE = "the record of a slide that is cut anew or dropped names it"
_BY_CONTENT = "its name and its content are those of an earlier build"
_SEEDS = "seeds that the manifest will not name any more, unless the new build gives the same"
_PLACES = ("", "overview")


@dataclass(frozen=True)
class Superseded:
    """A file of an earlier build. name: in the store.  why: what makes it ours."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True)
class LeftAlone:
    """A file that looks like one of an earlier build and is not deleted. why: what is missing for that."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Pruning:
    """What goes and what stays. records: of earlier builds, spent once their files are gone."""

    files: tuple[Superseded, ...]
    left_alone: tuple[LeftAlone, ...]
    records: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def plan_pruning(out: Path | str, todo: Collection[Unit] | None = None) -> Pruning:
    """What pruning would delete. Reads only. Raises UserError for a manifest that is not ours.

    todo: the slides' units as a build will have done them, for a look ahead; None: the manifest is that of the last build.
    """
    with open_store(out) as store:
        return _plan(store, todo)


def prune(out: Path | str) -> Pruning:
    """Delete what plan_pruning names. Only when nothing reads the corpus through an older manifest any more.

    Killed anywhere, it goes on when called again: records of earlier builds go last.
    """
    with open_store(out) as store:
        found = _plan(store, None)
        for file in found.files:
            store.remove(file.name)
        for name in found.records:
            store.remove(name)
    return found


def superseded(out: Path | str) -> list[str]:
    """Names of the files that prune would delete."""
    return [file.name for file in plan_pruning(out).files]


def _plan(store: Store, todo: Collection[Unit] | None) -> Pruning:
    stays = _needed(store, todo)
    going: dict[str, Superseded] = {}
    alone: dict[str, LeftAlone] = {}
    present = {name: size for place in _PLACES for name, size in _listed(store, place)}
    records, spent = _recorded(store), []
    for record, why, files in records:
        for name, fact in files.items():
            if name not in present or name in going or stays(name) or not has_own_form(name):
                continue
            wrong = is_as_recorded(store, name, present[name], fact)
            if wrong:
                alone[name] = LeftAlone(name, present[name], wrong)
            else:
                going[name] = Superseded(name, present[name], why)
                alone.pop(name, None)
        if record and not any(name in present and name not in going for name in files):
            spent.append(record)
    for name, size in present.items():
        if name in going or name in alone or stays(name) or not has_own_form(name):
            continue
        if is_ours(store, name, size):
            why = _SEEDS if todo is not None and name.startswith("seeds-") else _BY_CONTENT
            going[name] = Superseded(name, size, why)
        else:
            alone[name] = LeftAlone(name, size, "no record names it, and its content does not show that it is ours")
    # What proves others goes last: an overview's JSON after its pictures.
    order = sorted(going.values(), key=lambda file: (file.name.endswith(".json"), file.name))
    return Pruning(tuple(order), tuple(alone[name] for name in sorted(alone)), tuple(spent))


def _recorded(store: Store) -> list[tuple[str, str, dict]]:
    """(name of a record that goes with its files, or nothing; why; its files)."""
    found = [(name, _BY_RECORD, files) for name, files in sorted(read_superseded(store).items())]
    return found + [("", _BY_DONE, record.files) for record in read_all_done(store).values()]


def _needed(store: Store, todo: Collection[Unit] | None) -> Callable[[str], bool]:
    """Whether a file is one that the corpus, as it is or as it will be, needs."""
    manifest = read_own_manifest(store)
    named: set[str] = set()
    if todo is not None:
        units = re.compile("|".join(re.escape(f"{unit.name}-{unit.inputs[:8]}") for unit in todo))
        unchanged = manifest is not None and {slide.slug for slide in manifest.slides} == {unit.name for unit in todo}
        done = {name: record.inputs for name, record in read_all_done(store).items()} if unchanged else {}
        if manifest is not None and unchanged and all(done.get(unit.name) == unit.inputs for unit in todo):
            named = {seeds_name(manifest) or ""}
        of_todo = re.compile(f"(?:overview/)?(?:{units.pattern})[-.].*") if todo else re.compile("(?!)")
        return lambda name: name in named or of_todo.fullmatch(name) is not None
    if manifest is None:
        raise UserError("the manifest does not exist yet", store.where, "Build the shards first.")
    stems = {shard.name.removesuffix(".tar") for shard in manifest.shards}
    stems |= {slide.overview.removesuffix(".json") for slide in manifest.slides if slide.overview}
    named = {seeds_name(manifest) or ""}
    return lambda name: name in named or _stem(name) in stems


def read_own_manifest(store: Store) -> Manifest | None:
    """The corpus's manifest; None: there is none. Raises UserError where the file is something else."""
    try:
        data = store.read("manifest.json")
    except FileNotFoundError:
        return None
    return parse_manifest(data, f"{store.where}/manifest.json")


def _listed(store: Store, place: str) -> Iterator[tuple[str, int]]:
    """Regular files of a folder by their names in the store, with bytes; no symbolic links, and none behind one."""
    if isinstance(store, Folder):
        folder = store.path / place
        if place and folder.is_symlink():
            return
        for name, size in store.sizes(place).items():
            if not (folder / name).is_symlink():
                yield f"{place}/{name}" if place else name, size
        return
    for name, size in store.sizes(place).items():
        yield f"{place}/{name}" if place else name, size


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"
