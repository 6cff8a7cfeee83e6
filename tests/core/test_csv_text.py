"""Tables are read by one strict reader and written by the csv module."""

from pathlib import Path

import pytest

from mlseg_core.csv_text import read_table, write_rows
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, read_json_lines

PROJECT = Path(__file__).parents[2]


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"slide,patient,slide\na,b,c\n", ["t.csv line 1", "column 'slide' is there twice"]),
        (b"a,b\n1,2\n3\n", ["t.csv line 3", "field count differs", "1, not 2"]),
        (b"a,b\n1,2,3\n", ["t.csv line 2", "field count differs"]),
        (b'a,b\n"1,2\n', ["not a CSV file"]),
        (b'a,b\n"1"x,2\n', ["not a CSV file"]),
        (b"a,b\n1,\xe9\n", ["not a CSV file in UTF-8"]),
        (b"a,b\n1,2\n3,\0\n", ["t.csv line 3", "NUL"]),
        ("a,b\n1,2\n".encode("utf-16"), ["not a CSV file in UTF-8"]),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path: Path, data: bytes, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_table(_written(tmp_path, data))
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_people_and_spreadsheets_write_is_read(tmp_path: Path) -> None:
    table = read_table(_written(tmp_path, '\ufeffa,b\r\n"x, y","1\n2"\r\n\r\n\u2028,"say ""a"""\r\n'.encode()))
    assert table.header == ("a", "b")
    assert table.rows == ({"a": "x, y", "b": "1\n2"}, {"a": "\u2028", "b": 'say "a"'})
    assert read_table(_written(tmp_path, b"")).header == ()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [("a", "b"), ('x,"y"\n', "\u2028"), ("", " z")]
    for quote_all, end in ((False, "\n"), (True, "\r\n")):
        path = _written(tmp_path, write_rows(rows, quote_all, end).encode())
        assert [tuple(row.values()) for row in read_table(path).rows] == rows[1:]


def test_the_csv_module_is_used_here_alone() -> None:
    """But where a damaged table has to be read all the same, and where names need not be UTF-8."""
    lenient = {"mlseg_core/csv_text.py", "mlseg_dist/privacy/redaction.py", "mlseg_dist/privacy/pseudonyms.py"}
    using = {
        str(path.relative_to(PROJECT))
        for package in ("launch", "mlseg_core", "mlseg_dist", "shards", "benchmarks")
        for path in (PROJECT / package).rglob("*.py")
        if "import csv" in path.read_text().splitlines()
    }
    assert using == lenient


def test_a_line_of_records_does_not_end_within_a_text(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    texts = ["a\u2028b", "c\u2029d", "e\x85f", "g\x0bh\x0ci", "j"]
    path.write_text("".join(f'{{"error": "{text}"}}\n' for text in texts if "\x0b" not in text), encoding="utf-8")
    assert [record["error"] for record in read_json_lines(path)] == [text for text in texts if "\x0b" not in text]
    with open(path, "ab") as file:
        file.write(b'{"error": "\xff"}\n{"error": "last"}\n{"error": "cut')
    assert [record["error"] for record in read_json_lines(path)][-2:] == ["j", "last"]


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff", b"{"])
def test_json_that_cannot_be_read_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match="not valid JSON") as caught:
        read_json(path)
    assert len(str(caught.value)) < 500
