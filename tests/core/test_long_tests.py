"""A test that only `make test-all` runs names a shorter one that `make test` runs and that holds the same claim."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG = "long"


def marks(tree: ast.AST) -> list[ast.Call]:
    """Calls of `pytest.mark.long` in a piece of code."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call for call in calls if ast.unparse(call.func).endswith(f"mark.{LONG}")]


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def always_long(function: ast.FunctionDef) -> bool:
    """Whether all of it is: a decorator of its own, not one parameter of several."""
    return any(isinstance(one, ast.Call) and one in marks(one) for one in function.decorator_list)


FOUND = [
    (path.relative_to(ROOT).as_posix(), call)
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
    for call in marks(ast.parse(path.read_text()))
]


def test_there_are_some():
    assert len(FOUND) >= 5


@pytest.mark.parametrize(("path", "call"), FOUND, ids=[f"{path}:{call.lineno}" for path, call in FOUND])
def test_a_long_test_names_a_short_one_of_its_claim(path, call):
    (keyword,) = call.keywords
    assert keyword.arg == "short" and not call.args
    file, _, name = ast.literal_eval(keyword.value).partition("::")
    assert (ROOT / file).is_file(), f"{path} names {file}, which is not there"
    found = functions(ROOT / file)
    assert name in found, f"{path} names {name}, which is not in {file}"
    assert not always_long(found[name]), f"{path} names {name}, which is a long one itself"


def test_a_module_is_never_long_as_a_whole():
    """`pytestmark = pytest.mark.long(…)` would hide what the rule above looks at."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        assignments = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
        named = [node for node in assignments if any(getattr(t, "id", "") == "pytestmark" for t in node.targets)]
        assert not any(marks(node) for node in named), path
