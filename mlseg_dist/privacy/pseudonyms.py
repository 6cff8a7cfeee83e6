"""Pseudonyms of slides and patients: what pages and W&B show instead of names. No torch.


The key is RUN/private/names.csv, and names-2.csv, names-3.csv, … where slides came later. Each file appears whole, first writer
wins, and is never changed, so that processes on several hosts agree without locks and no pseudonym ever means another slide.
Numbers are drawn by lot: they say nothing about names or their order. The folder has mode 0700, the files 0600.
"""

import csv
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlseg_core.csv_text import write_rows
from mlseg_core.errors import UserError
from mlseg_core.files import publish_first, temporary_beside
from mlseg_core.node import user_name
from mlseg_dist.run_folder import shards_folder
from shards.manifest import kept_manifest

_log = logging.getLogger(__name__)


Kind = Literal["slide", "patient"]
KINDS: tuple[Kind, ...] = ("slide", "patient")
COLUMNS = ("kind", "name", "pseudonym")
FOLDER = "private"
KEY_FILE = re.compile(r"names(?:-([1-9]\d*))?\.csv")
PICTURE_MARK = b"mlseg: slides by their pseudonyms"
"""Comment in a JPEG with captions: pictures that earlier versions drew have the slides' names in their pixels."""
_PSEUDONYM = re.compile(r"(slide|patient)-(\d{4,})")
_LOT = secrets.SystemRandom()


@dataclass(frozen=True)
class Named:
    """One row of the key. name: a slide's slug, or a patient as the slide table names them."""

    kind: Kind
    name: str
    pseudonym: str


class Pseudonyms:
    """slide(), patient() and key() give the pseudonym, original() the way back. Raises UserError for a key that cannot be read.

    A name that has no pseudonym yet gets the next number; those that were given before stay. warn: told one sentence.
    """

    def __init__(self, run: Path, warn: Callable[[str], None] | None = None) -> None:
        """Reads the key if there is one; writes nothing."""
        self.run, self.folder = run, run / FOLDER
        self._warn = warn or _log.warning
        self._read()

    @classmethod
    def of(cls, run: Path, warn: Callable[[str], None] | None = None) -> "Pseudonyms":
        """Those of a run, with all slides and patients of its corpus, the ones that are not evaluated too."""
        names = cls(run, warn)
        manifest = shards_folder(run) / "manifest.json"
        if manifest.exists():
            slides = kept_manifest(manifest).slides
            names.admit((slide.slug for slide in slides), (slide.patient for slide in slides))
        return names

    def slide(self, slug: str) -> str:
        """`slide-0001` for a slide's slug."""
        return self._of("slide", slug)

    def patient(self, name: str) -> str:
        """`patient-0001` for a patient as the slide table names them."""
        return self._of("patient", name)

    def key(self, key: str) -> str:
        """A patch's KEY with its slide's pseudonym: `slide-0001+y0012345+x0067890`."""
        slug, plus, position = key.partition("+")
        return f"{self.slide(slug)}{plus}{position}"

    def original(self, pseudonym: str) -> Named:
        """Who that is. Raises UserError for one that was never given."""
        for named in self._rows:
            if named.pseudonym == pseudonym:
                return named
        raise UserError(f"no slide or patient is called {pseudonym!r}", self.folder / "names.csv", "Check the number.")

    def all(self) -> list[Named]:
        """Every row of the key, by kind and number."""
        return sorted(self._rows, key=lambda named: (KINDS.index(named.kind), _number(named)))

    def admit(self, slides: Iterable[str] = (), patients: Iterable[str] = ()) -> None:
        """Give pseudonyms to those that have none, all in one lot."""
        asked = {"slide": set(slides), "patient": set(patients)}
        while True:
            missing: dict[Kind, list[str]] = {kind: sorted(asked[kind] - self._known[kind].keys()) for kind in KINDS}
            if not any(missing.values()):
                return
            self._publish(missing)
            self._read()  # what won, which may be another process's

    def _of(self, kind: Kind, name: str) -> str:
        if name not in self._known[kind]:
            self.admit(**{f"{kind}s": [name]})
        return self._known[kind][name]

    def _read(self) -> None:
        self._rows: list[Named] = []
        self._taken: set[int] = set()
        for name in _names_in(self.folder):
            if found := KEY_FILE.fullmatch(name):
                self._rows += _rows(self.folder / name)
                self._taken.add(int(found[1] or 1))
        self._known: dict[Kind, dict[str, str]] = {kind: {} for kind in KINDS}
        for named in self._rows:
            self._known[named.kind][named.name] = named.pseudonym
        if len({named.pseudonym for named in self._rows}) < len(self._rows):
            raise UserError("one pseudonym stands for two names", self.folder, _RESTORE)

    def _publish(self, missing: dict[Kind, list[str]]) -> None:
        is_first = not self._taken
        before = is_first and (self.folder.exists() or (self.run / "report" / "index.html").exists())
        self.folder.mkdir(mode=0o700, exist_ok=True)
        _tighten(self.folder, 0o700)
        number = next(n for n in range(1, len(self._taken) + 2) if n not in self._taken)
        target = self.folder / ("names.csv" if number == 1 else f"names-{number}.csv")
        rows: list[Sequence[str]] = [COLUMNS]
        for kind, names in missing.items():
            _LOT.shuffle(names)
            first = max((_number(named) for named in self._rows if named.kind == kind), default=0) + 1
            rows += [(kind, name, f"{kind}-{place:04d}") for place, name in enumerate(names, start=first)]
        if _publish(write_rows(rows, quote_all=True).encode(errors="surrogateescape"), target) and before:
            self._warn(f"{target} is made anew: reports and W&B runs from before show other pseudonyms, or real names")


def shows_pseudonyms(jpeg: bytes) -> bool:
    """Whether a captioned picture was drawn with pseudonyms."""
    return PICTURE_MARK in jpeg[:4096]


_RESTORE = "Restore it from a copy, or remove it: it is made anew, and pages made before no longer match it."


def _publish(data: bytes, target: Path) -> bool:
    """First writer wins; mode 0600 whatever the umask, from the first byte on. Returns True for the winner."""
    temporary = temporary_beside(target)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(data)
        return publish_first(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _names_in(folder: Path) -> list[str]:
    """Names of the files there; none where there is no folder. Raises UserError."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except PermissionError:
        raise _not_for_you(folder) from None


def _not_for_you(path: Path) -> UserError:
    owner = user_name(path.stat().st_uid)
    return UserError(f"only {owner} may read the key to the pseudonyms", path, f"Ask {owner} to do this.")


def _rows(path: Path) -> list[Named]:
    """Those of one file, whose mode is set right where a copy has loosened it. Raises UserError."""
    _tighten(path, 0o600)
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            head, *rows = list(csv.reader(file, strict=True)) or [[]]
    except PermissionError:
        raise _not_for_you(path) from None
    except csv.Error as error:
        raise UserError(f"not a CSV file ({error})", path, _RESTORE) from None
    if tuple(head) != COLUMNS:
        raise UserError(f"its header is not {','.join(COLUMNS)}", path, _RESTORE)
    found = []
    for line, row in enumerate(rows, start=2):
        match = _PSEUDONYM.fullmatch(row[2]) if len(row) == len(COLUMNS) else None
        if match is None or match[1] != row[0]:
            raise UserError("not a row of a kind, a name and a pseudonym", f"{path} row {line}", _RESTORE)
        found.append(Named("slide" if row[0] == "slide" else "patient", row[1], row[2]))
    return found


def _tighten(path: Path, mode: int) -> None:
    """Set the mode of a file or folder that this user owns."""
    state = path.stat()
    if stat.S_IMODE(state.st_mode) != mode and state.st_uid == os.geteuid():
        path.chmod(mode)


def _number(named: Named) -> int:
    return int(named.pseudonym.rpartition("-")[2])
