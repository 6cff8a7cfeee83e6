"""Some mutations of every format, by the same seed each time; `make fuzz N=3000` does as many as wanted. And: fuzzing can fail."""

import os
import random
import re
from pathlib import Path

import pytest

from mlseg_core.errors import UserError
from tests.fuzz.__main__ import table
from tests.fuzz.cases import Format, Result, run
from tests.fuzz.formats import FORMATS
from tests.fuzz.material import make
from tests.fuzz.mutations import mutated

CASES = 20


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make(tmp_path_factory.mktemp("whole"), {name for name, _ in FORMATS.values()})


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_end_in_the_same_data_or_in_one_clear_error(
    name: str, material: dict[str, Path], tmp_path: Path
) -> None:
    folder, format = FORMATS[name]
    results = list(run(format, material[folder], range(CASES), 1, tmp_path / "mutated"))
    assert [result.number for result in results] == list(range(CASES)), "none is skipped"
    assert not [result for result in results if result.outcome in ("SILENT", "UNCLEAR")]
    assert any(result.outcome == "refused" for result in results)


def _wrong(how: str) -> Format:
    """A reader that does with a damaged file what no reader may do."""

    def read(folder: Path) -> str:
        data = (folder / "a").read_bytes()
        if data == b"whole" * 100:
            return "whole"
        if how == "silent":
            return "other"
        if how == "traceback":
            raise ZeroDivisionError
        if how == "endless":
            while True:
                pass
        if how == "memory":
            return str(len(bytearray(4 << 30)))
        os.abort()

    return Format(how, ("a",), read, (UserError,))


@pytest.mark.parametrize(
    ("how", "outcome", "said"),
    [
        ("silent", "SILENT", "other, not whole"),
        ("traceback", "UNCLEAR", "ZeroDivisionError"),
        ("endless", "UNCLEAR", "more than 10 s|does not end"),
        ("memory", "UNCLEAR", "MemoryError"),
        ("death", "UNCLEAR", "the process died"),
    ],
)
def test_what_goes_wrong_is_found(how: str, outcome: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "a").write_bytes(b"whole" * 100)
    numbers = range(1 if how == "endless" else 3)
    results = list(run(_wrong(how), tmp_path / "whole", numbers, 0, tmp_path / "mutated"))
    assert [(result.number, result.outcome) for result in results] == [(number, outcome) for number in numbers]
    assert all(re.search(said, result.said) for result in results)


def test_mutations_change_something_and_repeat() -> None:
    whole = b"key: 1\nother: [2, 3]\n" * 20
    for text in (False, True):
        made = [mutated(whole, random.Random(f"{number}"), text) for number in range(300)]
        assert made == [mutated(whole, random.Random(f"{number}"), text) for number in range(300)]
        assert all(data != whole for data, _ in made) and len({data for data, _ in made}) > 200


def test_the_table_counts_each_case_once() -> None:
    results = [
        Result("a", 0, "f", "m", "same"),
        Result("a", 1, "f", "m", "refused"),
        Result("b", 0, "f", "m", "SILENT"),
    ]
    assert table(results).splitlines()[2:] == [
        "| a | 2 | 1 | 1 | 0 | 0 | 0 |",
        "| b | 1 | 0 | 0 | 0 | 1 | 0 |",
        "| all | 3 | 1 | 1 | 0 | 1 | 0 |",
    ]
