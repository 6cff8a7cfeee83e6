"""What a map leaves behind in its store: `done/UNIT.json`, `failed/UNIT.json`; and the temporary paths that work writes to.

In: units and files. Out: a unit's proof that it is done, the reason why it failed. A done record that is replaced
moves to `superseded/UNIT-HASH8.json`: the files that it names are still there, and only what a record names may ever be deleted.
"""

import json
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from mlseg_core.errors import UserError
from mlseg_core.files import TEMPORARY
from mlseg_core.store import Store, check_name

SUPERSEDED = "superseded"
"""Folder of the records that newer ones have replaced."""
DEATHS = 3
"""So many processes may die on a unit before it counts as failed."""


@dataclass(frozen=True)
class Unit:
    """One piece of work. name: unique, a plain file name. inputs: hash of everything that decides the output bytes.

    cost: in any unit, the same for all (bytes of the slide); the ETA goes by it.
    """

    name: str
    inputs: str
    payload: Any = None
    cost: float = 1.0


@dataclass(frozen=True)
class Done:
    """A unit's proof: its published files with size and sha256, and the facts that `describe` read from them.

    pieces: what the work reported with Scratch.advance (pairs).
    """

    unit: str
    inputs: str
    files: dict[str, dict[str, Any]]
    facts: dict[str, Any]
    pieces: int = 0


@dataclass(frozen=True)
class Failed:
    """Why a unit is not done. mistake: the user can fix it.  deaths: processes that died while working on it.

    tries: processes that failed at it and were not to blame themselves (failures.py).  host: of the last one.
    """

    unit: str
    reason: str
    traceback: str
    inputs: str = ""
    mistake: bool = False
    deaths: int = 0
    tries: int = 0
    host: str = ""

    @classmethod
    def of(cls, unit: Unit, error: Exception, trace: str, host: str, tries: int, deaths: int) -> "Failed":
        mistake = isinstance(error, UserError)
        reason = str(error) if mistake else f"{type(error).__name__}: {error}"
        return cls(unit.name, " ".join(reason.split()), trace, unit.inputs, mistake, deaths, tries, host)

    @property
    def is_final(self) -> bool:
        """The unit failed, and not just a process or two died while working on it."""
        return self.tries > 0 or self.deaths == 0 or self.deaths >= DEATHS


@dataclass
class Scratch:
    """Hands out temporary paths beside their targets, and hears of progress within a unit.

    folder: local.  tag: names the process that writes.  report: told the number of pieces done.
    winners: name -> a published file, open; where a file is read from here nothing is opened again.
    """

    folder: Path
    tag: str = ""
    report: Callable[[int], None] = lambda pieces: None
    paths: dict[str, Path] = field(default_factory=dict)
    winners: dict[str, BinaryIO] = field(default_factory=dict)
    _opened: dict[str, BinaryIO] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """The temporary path that will be published as `name` ("a.tar", "overview/a.jpg"). Raises ValueError."""
        if name not in self.paths:
            target = self.folder / check_name(name)
            if target.parent != self.folder:  # the store has made its own
                target.parent.mkdir(parents=True, exist_ok=True)
            self.paths[name] = target.with_name(f"{TEMPORARY}{self.tag}-{secrets.token_hex(6)}-{target.name}")
        return self.paths[name]

    def open(self, name: str) -> BinaryIO:
        """The same file, open for writing and reading: to be left open, as it is published and hashed through this."""
        if name not in self._opened:
            self._opened[name] = self.file(name).open("w+b")
        return self._opened[name]

    def written(self, name: str) -> BinaryIO:
        """It as the work left it, open for reading."""
        if name not in self._opened:
            self._opened[name] = self.paths[name].open("rb")
        return self._opened[name]

    def advance(self, pieces: int = 1) -> None:
        """pieces (pairs) more of this unit are done."""
        self.report(pieces)

    def published(self, name: str, moved: bool) -> None:
        """It got its name. moved: nothing is left of the temporary."""
        if moved:
            del self.paths[name]

    def remove(self) -> None:
        """Close what is open and remove the temporaries."""
        for file in (*self._opened.values(), *self.winners.values()):
            with suppress(OSError):  # of a full disk, where a write has failed before
                file.close()
        for temporary in self.paths.values():
            temporary.unlink(missing_ok=True)


Record = TypeVar("Record", Done, Failed)


def read_done(store: Store, unit: Unit) -> Done | None:
    """The unit's record, when it was made from the same inputs."""
    return _read(store, f"done/{unit.name}.json", Done, unit)


def read_failed(store: Store, unit: Unit) -> Failed | None:
    """Why the unit failed, when it had the same inputs."""
    return _read(store, f"failed/{unit.name}.json", Failed, unit)


def write_record(store: Store, record: Done | Failed) -> None:
    folder = "done" if isinstance(record, Done) else "failed"
    text = json.dumps(vars(record), indent=1, ensure_ascii=False) + "\n"
    # A file name that is no UTF-8 comes as lone surrogates: it must not keep the reason from being written.
    # A record that a power cut takes costs the unit once more; what it names is settled before it is written.
    store.write(f"{folder}/{record.unit}.json", text.encode(errors="backslashreplace"), lasting=False)


def forget_failed(store: Store, unit: Unit) -> None:
    """Somebody else's file of that name stays."""
    if _parsed(store, f"failed/{unit.name}.json", Failed) is not None:
        store.remove(f"failed/{unit.name}.json")


def _read(store: Store, name: str, kind: type[Record], unit: Unit) -> Record | None:
    record = _parsed(store, name, kind, refuse_foreign=True)
    return record if record is not None and record.inputs == unit.inputs else None


def _parsed(store: Store, name: str, kind: type[Record], refuse_foreign: bool = False) -> Record | None:
    """A record of whatever inputs; None where there is none, or a damaged one, which proves nothing: the unit is done again.

    refuse_foreign: raise UserError for JSON of somebody else, which would be overwritten.
    """
    try:
        raw = json.loads(store.read(name))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    if refuse_foreign and raw and not (isinstance(raw, dict) and raw.keys() & {"unit", "inputs"}):
        what = "is not a record that mlseg wrote here, and would be overwritten"
        raise UserError(what, f"{store.where}/{name}", "Move it away, or choose another folder.")
    try:
        record = kind(**raw)
    except TypeError:  # of another version
        return None
    return record if name.endswith(f"/{record.unit}.json") else None


def read_all_done(store: Store) -> dict[str, Done]:
    """Unit -> its done record, of whatever inputs. Other files in the folder are passed over."""
    names = [name for name in store.names("done") if name.endswith(".json")]
    found = {name.removesuffix(".json"): _parsed(store, f"done/{name}", Done) for name in names}
    return {name: record for name, record in found.items() if record is not None and isinstance(record.files, dict)}


def own_failures(store: Store) -> list[str]:
    """Names in the store of the files in `failed` that are records of ours."""
    names = [f"failed/{name}" for name in store.names("failed") if name.endswith(".json")]
    return [name for name in names if _parsed(store, name, Failed) is not None]


def keep_superseded(store: Store, unit: Unit) -> None:
    """Before a unit's done record is replaced: what the old one names stays known. The same record twice makes one file."""
    before = _parsed(store, f"done/{unit.name}.json", Done)
    if before is None or before.inputs == unit.inputs:
        return
    kept = {"unit": before.unit, "inputs": before.inputs, "files": before.files}
    text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    store.write(f"{SUPERSEDED}/{unit.name}-{before.inputs[:8]}.json", text.encode(errors="backslashreplace"))


def read_superseded(store: Store) -> dict[str, dict[str, dict[str, Any]]]:
    """Name in the store of each record of an earlier build -> its files, with bytes and sha256."""
    found = {}
    for name in store.names(SUPERSEDED):
        try:
            record = json.loads(store.read(f"{SUPERSEDED}/{name}"))
            if set(record) == {"unit", "inputs", "files"} and name == f"{record['unit']}-{record['inputs'][:8]}.json":
                found[f"{SUPERSEDED}/{name}"] = record["files"]
        except (FileNotFoundError, IsADirectoryError, ValueError, TypeError, KeyError):
            continue  # somebody else's
    return found


def missing_files(store: Store, records: Iterable[Done]) -> set[str]:
    """Units of which a published file is gone or has another size than its record says. One listing a folder."""
    wanted: dict[str, list[tuple[str, str, int]]] = {}
    for record in records:
        for name, fact in record.files.items():
            path = PurePosixPath(name)
            folder = "" if path.parent == PurePosixPath() else str(path.parent)
            wanted.setdefault(folder, []).append((record.unit, path.name, fact["bytes"]))
    missing = set()
    for folder, files in wanted.items():
        sizes = store.sizes(folder, {name for _, name, _ in files})
        missing |= {unit for unit, name, size in files if sizes.get(name) != size}
    return missing
