"""Who is who across splits: a patient under two spellings, a slide under two names. Either would leak from train to test.

In: rows of a slide table or of a table of tiles. Out: UserError that names both rows; warnings about what looks alike.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlseg_core.errors import UserError

_ONE_SPLIT = "Put all slides of a patient into one split; anything else leaks."


class Row(NamedTuple):
    """A row as these checks see it. line: where the table has it; name: of the slide or tile."""

    line: int
    name: str
    patient: str
    split: str


def spelling(text: str) -> str:
    """What stays of a name when case, Unicode form, invisible characters and kinds of white space are disregarded."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    visible = "".join(
        " " if mark.isspace() else mark for mark in folded if unicodedata.category(mark) not in ("Cf", "Cc")
    )
    return " ".join(visible.split())


def refuse_split_patients(table: Path, rows: Sequence[Row], fix: str = _ONE_SPLIT) -> None:
    """Raises UserError when a patient, however spelled, is in two splits. fix: what to do about it."""
    first_of: dict[str, Row] = {}
    for row in rows:
        first = first_of.setdefault(spelling(row.patient), row)
        if first.split == row.split:
            continue
        if first.patient == row.patient:
            what = f"patient {row.patient!r} is in two splits, {first.split} (line {first.line}) and {row.split} (line {row.line})"
            raise UserError(what, table, fix)
        raise UserError(
            f"patients {_shown(first.patient)} (line {first.line}, {first.split}) and {_shown(row.patient)} "
            f"(line {row.line}, {row.split}) differ only in how they are written",
            table,
            f"{fix} If they are two people, rename one.",
        )


def refuse_shared_content(table: Path, rows: Sequence[Row], contents: Sequence[str]) -> None:
    """Raises UserError when two rows of different splits are the same file. contents: a hash a row, "" where unknown."""
    first_of: dict[str, Row] = {}
    for row, content in zip(rows, contents, strict=True):
        first = first_of.setdefault(content, row) if content else row
        if first.split != row.split:
            raise UserError(
                f"{first.name!r} (line {first.line}, {first.split}) and {row.name!r} (line {row.line}, {row.split}) "
                "have the same content",
                table,
                "Keep one of the two rows; a slide in two splits leaks.",
            )


def doubles(rows: Sequence[Row], contents: Sequence[str]) -> Iterator[str]:
    """A sentence for each group of rows of one split that have the same content."""
    same: dict[str, list[Row]] = defaultdict(list)
    for row, content in zip(rows, contents, strict=True):
        if content:
            same[content].append(row)
    for group in same.values():
        if len(group) > 1:
            listed = ", ".join(f"{row.name!r} (line {row.line}, patient {_shown(row.patient)})" for row in group)
            yield f"these rows have the same content, and its pixels count more than once: {listed}"


def look_alikes(column: str, values: Sequence[str]) -> Iterator[str]:
    """A sentence for each group of values of a column that differ only in how they are written."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for value in values:
        groups[spelling(value)][value] = None
    for group in groups.values():
        if len(group) > 1:
            listed = ", ".join(map(_shown, group))
            yield f"column {column!r} has values that differ only in how they are written and count as different: {listed}"


def _shown(text: str) -> str:
    """Quoted; what a reader could not see is spelled out: a no-break space, a decomposed ü, two spaces in a row."""
    return (ascii(text) if _hides(text) else repr(text)).replace("  ", "␣␣")


def _hides(text: str) -> bool:
    odd = any(unicodedata.category(mark) in ("Cf", "Cc", "Mn") or (mark.isspace() and mark != " ") for mark in text)
    return odd or unicodedata.normalize("NFC", text) != text
