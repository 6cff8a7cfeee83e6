"""CSV in and out: one strict reader for every table, and one writer.

In: a file in UTF-8 (a byte order mark is fine) whose first line is the header. Out: one dict a row. A column that is there twice, a
row with more or fewer fields than the header, a quote that is never closed: each is a UserError that names the line.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import read_regular

_SAVE = "Save it as CSV, UTF-8."


@dataclass(frozen=True)
class Table:
    """header: names of the columns, each once. rows: column -> text, in the file's order. Empty lines are no rows."""

    header: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def read_table(path: Path, fix: str = _SAVE) -> Table:
    """fix: what a person can do where it is no such table. Raises UserError, and OSError where the file cannot be read."""
    try:
        text = read_regular(path).decode("utf-8-sig")
        if "\0" in text:
            raise UserError(
                "it holds a NUL character", f"{path} line {text.count(chr(10), 0, text.index(chr(0))) + 1}", fix
            )
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a CSV file in UTF-8 ({error})", path, fix) from None
    header = tuple(lines[0]) if lines else ()
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise UserError(f"column {twice[0]!r} is there twice", f"{path} line 1", "Remove or rename one of them.")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            what = f"the row's field count differs from the header's: {len(line)}, not {len(header)}"
            raise UserError(what, f"{path} line {number}", "Check the commas.")
    return Table(header, tuple(dict(zip(header, line, strict=True)) for line in lines[1:]))


def write_rows(rows: Iterable[Sequence[object]], quote_all: bool = False, end: str = "\n") -> str:
    """Rows as CSV text. quote_all: every field stands in quotes. end: of each line."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL, lineterminator=end).writerows(rows)
    return text.getvalue()
