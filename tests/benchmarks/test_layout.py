"""Each benchmark is one folder with a command, which benchmarks/README.md lists; what several share is in benchmarks/common."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from benchmarks.common.processes import ROOT

FOLDERS = {path.parent.name for path in (ROOT / "benchmarks").glob("*/__init__.py")}
COMMON = "common"
BENCHMARKS = sorted(FOLDERS - {COMMON})
COMPOSED = {"gpu"}
"""Runs parts of other benchmarks on a GPU, and so imports them."""
WRITTEN = [
    ROOT / name for name in ("benchmarks", "configs", "docs", "launch", "mlseg_core", "mlseg_dist", "shards", "tests")
]
KINDS = {".md", ".py", ".yaml"}


@cache
def texts() -> dict[Path, str]:
    """The repository's pages, code and configs."""
    found = [path for top in WRITTEN for path in top.rglob("*") if path.suffix in KINDS]
    found += [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / ".ci/run"]
    return {path: path.read_text() for path in found}


def imports(path: Path) -> set[str]:
    """What a file imports, with dots; of a `from` import each name, which may be a module or not."""
    found = set()
    for node in ast.walk(ast.parse(texts()[path])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_command(module: str) -> bool:
    """Whether `python -m MODULE` runs something."""
    path = ROOT.joinpath(*module.split("."))
    return (path / "__main__.py").is_file() or '\nif __name__ == "__main__":\n' in texts().get(
        path.with_suffix(".py"), ""
    )


def test_there_are_benchmarks():
    assert len(BENCHMARKS) >= 16 and COMMON in FOLDERS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_a_folder_with_a_command_and_a_line_of_the_index(name):
    folder = ROOT / "benchmarks" / name
    assert (folder / "__main__.py").is_file() and not folder.with_suffix(".py").exists()
    index = re.findall(
        r"^\| \[[\w/]+\]\((\w+)(?:/\w+)?/\) \| `([^`]+)`", (ROOT / "benchmarks/README.md").read_text(), re.MULTILINE
    )
    commands = [command for listed, command in index if listed == name]
    assert any(command.startswith((f"python -m benchmarks.{name}", f"make {name}")) for command in commands)


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_a_benchmark_imports_its_own_parts_and_what_is_shared(name):
    if name in COMPOSED:
        pytest.skip("it is composed of parts of others")
    found = {word for path in (ROOT / "benchmarks" / name).rglob("*.py") for word in imports(path)}
    others = {word.split(".")[1] for word in found if word.startswith("benchmarks.")} - {name, COMMON}
    if name == "dali_nodes":  # its row also reads the modules of earlier commits
        others -= {"gpu", "policies"}
    assert not others


def test_what_is_shared_serves_several_benchmarks():
    for path in (ROOT / "benchmarks" / COMMON).glob("*.py"):
        module = f"benchmarks.{COMMON}.{path.stem}"
        users = {
            user.relative_to(ROOT).parts[1]
            for user, text in texts().items()
            if module in text and user.is_relative_to(ROOT / "benchmarks")
        }
        assert path.stem == "__init__" or len(users - {COMMON}) > 1, module


def test_every_command_that_is_named_runs():
    """Commands of benchmarks in pages, code, configs and the Makefile."""
    named = {
        (match, path) for path, text in texts().items() for match in re.findall(r"python -m (benchmarks[\w.]*\w)", text)
    }
    assert len({command for command, _ in named}) >= len(BENCHMARKS)
    assert not [(command, path) for command, path in named if not is_command(command) and not command.endswith(".NAME")]


def test_every_file_that_is_named_exists():
    named = {
        (match, path)
        for path, text in texts().items()
        for match in re.findall(r"\bbenchmarks/[\w/.-]+\.(?:py|yaml)\b", text)
    }
    assert named and not [(file, path) for file, path in named if not (ROOT / file).is_file()]


def test_rows_of_peers_need_the_standard_library_only():
    """A peer's Python has none of our dependencies."""
    for file in (
        "__init__",
        "common/__init__",
        "common/processes",
        "shards/__init__",
        "shards/rows/__init__",
        "shards/rows/row",
    ):
        assert {word.partition(".")[0] for word in imports(ROOT / f"benchmarks/{file}.py")} <= {
            "benchmarks", "collections", "json", "os", "pathlib", "platform", "subprocess", "sys", "time", "typing",
        }  # fmt: skip


def test_every_file_of_tests_is_named_after_a_benchmark():
    names = {path.stem.removeprefix("test_") for path in (ROOT / "tests/benchmarks").glob("test_*.py")} - {"layout"}
    known = {
        ".".join(path.parent.relative_to(ROOT / "benchmarks").parts).replace(".", "_")
        for path in (ROOT / "benchmarks").rglob("__main__.py")
    }
    assert names <= known
