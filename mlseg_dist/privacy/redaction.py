"""Free text and configs that leave a run folder: names become pseudonyms, paths become `…`.

In: an error's words, an event's text, campaign.yaml. Out: the same without the slides' and patients' names that the slide table and
the corpus know, and without paths outside the run folder. Somebody else's name in a text cannot be known, and stays.
"""

import csv
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlseg_core import yaml_text
from mlseg_core.errors import UserError
from mlseg_dist.privacy.pseudonyms import Pseudonyms
from mlseg_dist.run_folder import shards_folder
from shards.manifest import kept_manifest
from shards.slide_table import Slide

HIDDEN = "…"
SECRET_KEYS = frozenset({"setup", "extra", "account", "alerts"})
"""Keys of a config whose values may hold tokens, accounts and mail addresses."""
_QUOTED_PATH = re.compile(r"""(['"])(?:~/|/|…/)[^'"\n]+\1""")
_PATH = re.compile(r"(?:(?<![\w.…~/:<-])~?/|…/|file://)[^\s'\",;:()\[\]{}<>|]+")
_SHORT, _SHORT_DIGITS = 3, 5
"""A name of fewer letters cannot be told from a word in a sentence, one of fewer digits not from a count."""


@dataclass(frozen=True)
class Row:
    """What one slide is called outside.

    names: its file, with and without folder and ending; its annotation's likewise. folders: that they lie in.
    """

    slug: str
    patient: str
    names: tuple[str, ...]
    folders: tuple[str, ...] = ()


class Redaction:
    """text() and config() give what may leave. Reads the slide table and the corpus once. Raises UserError."""

    def __init__(self, run: Path, warn: Callable[[str], None] | None = None) -> None:
        self.names = Pseudonyms.of(run, warn)
        self._run = _plain(str(run.absolute()))
        self._shown: dict[str, str] = {}
        rows = [*_of_table(run), *_of_corpus(run)]
        self.names.admit((row.slug for row in rows), (row.patient for row in rows if row.patient))
        for row in rows:
            for name in row.names:
                self._learn(name, self.names.slide(row.slug))
            for folder in row.folders:
                self._learn(folder, f"{HIDDEN}/" if folder.endswith("/") else HIDDEN)
        for named in self.names.all():
            self._learn(named.name, named.pseudonym)
        self._lengths = sorted({len(name) for name in self._shown}, reverse=True)

    def text(self, said: str) -> str:
        """A sentence as it may be shown."""
        plain = unicodedata.normalize("NFC", said).replace(f"{self._run}/", "").replace(self._run, "RUN")
        plain = _QUOTED_PATH.sub(HIDDEN, self._without_names(plain))
        return _PATH.sub(HIDDEN, plain)

    def tree(self, value: Any, key: str = "") -> Any:
        """A config as plain values, as it may be shown."""
        if key in SECRET_KEYS and value:
            return HIDDEN
        if isinstance(value, dict):
            return {name: self.tree(inner, str(name)) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(inner) for inner in value]
        if isinstance(value, str):
            return HIDDEN if value.startswith(("/", "~")) else self.text(value)
        return value

    def config(self, text: str) -> str:
        """A campaign.yaml as it may be shown; one that cannot be read is left out."""
        try:
            return yaml_text.write(self.tree(yaml_text.parse(text)))
        except yaml_text.BadYaml:
            return ""

    def _learn(self, name: str, pseudonym: str) -> None:
        if len(name) < _SHORT or (name.isdecimal() and len(name) < _SHORT_DIGITS):
            return
        self._shown.setdefault(_folded(_plain(name)), pseudonym)

    def _without_names(self, said: str) -> str:
        """The longest name that starts at a place counts; within a longer word it is not a name."""
        out: list[str] = []
        folded, place = _folded(said), 0
        while place < len(said):
            begins = not (place and folded[place - 1].isalnum())
            found = self._at(folded, place) if begins else ""
            if begins and not found and self._is_cut_off(folded[place:]):
                return "".join(out) + HIDDEN
            out.append(self._shown[found] if found else said[place])
            place += len(found) or 1
        return "".join(out)

    def _at(self, folded: str, place: int) -> str:
        for length in self._lengths:
            end = place + length
            name = folded[place:end]
            if name in self._shown and (name[-1] == "/" or not folded[end : end + 1].isalnum()):
                return name
        return ""

    def _is_cut_off(self, rest: str) -> bool:
        """Whether a long sentence ends within a name, as errors are shortened."""
        if not _SHORT_DIGITS <= len(rest) < max(self._lengths, default=0):
            return False
        return any(name.startswith(rest) for name in self._shown)


def _of_corpus(run: Path) -> Iterator[Row]:
    path = shards_folder(run) / "manifest.json"
    if path.exists():
        for slide in kept_manifest(path).slides:
            yield Row(slide.slug, slide.patient, _names(Path(slide.slide)))


def _of_table(run: Path) -> Iterator[Row]:
    """Rows of the slide table, read leniently: it may be what the text complains about."""
    for table in (_slides_of(run), run / "data" / "slides" / "slides.csv"):
        if table is None or not table.is_file():
            continue
        with open(table, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            try:
                header, *rows = list(csv.reader(file)) or [[]]
            except csv.Error:
                continue
        for row in rows:
            cells: dict[
                str, list[str]
            ] = {}  # a column may be there twice: the reader of tables says so, naming the file
            for name, cell in zip(header, row, strict=False):
                cells.setdefault(name, []).extend(filter(None, [cell.strip()]))
            patient = next(iter(cells.get("patient", [])), "")
            annotations = cells.get("annotation", [])
            for slide in cells.get("slide", []):
                files = [slide, *annotations]
                names = [name for file in files for name in _names_of_file(table.parent, file)]
                folders = [folder for file in files for folder in _folders_of_file(table.parent, file)]
                yield Row(_slug(table.parent / slide), patient, tuple(names), tuple(folders))


def _slides_of(run: Path) -> Path | None:
    """The slide table that campaign.yaml names."""
    try:
        slides = yaml_text.read(run / "campaign.yaml")["slides"]
    except (OSError, UserError, KeyError, TypeError):
        return None
    return Path(slides) if isinstance(slides, str) else None


def _names_of_file(folder: Path, given: str) -> Iterator[str]:
    """A file as the table has it, its whole path, and its own name."""
    yield given
    yield str((folder / given).absolute())
    yield from _names(Path(given))


def _folders_of_file(folder: Path, given: str) -> Iterator[str]:
    """Folders on the way to it, as the table has them and whole."""
    for parent in Path(given).parents:
        if parent.parts:
            yield f"{parent}/"
    for parent in (folder / given).absolute().parents:
        if len(parent.parts) > 2:
            yield from (f"{parent}/", str(parent))


def _names(file: Path) -> tuple[str, ...]:
    return (file.name, file.stem)


def _slug(path: Path) -> str:
    return Slide(path, "", "", "", "", "", None, None, None).slug


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(text: str) -> str:
    """Lower case, of the same length."""
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
