"""The documentation names what exists: links, files, functions, commands, and the messages that docs/troubleshooting.md quotes."""

import ast
import contextlib
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from launch.cli import main

ROOT = Path(__file__).parents[2]
PRODUCT = ("launch", "mlseg_core", "mlseg_dist", "shards")
TOP = (*PRODUCT, "benchmarks", "configs", "docs", "slurm", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MESSAGES = ROOT / "docs" / "troubleshooting.md"
MADE = "benchmarks/results/gpu/"
"""What `make gpu` writes."""
GAP = "…"
_LOGGED = re.compile(r"%(?:\.\d+)?[sdrfg]")
"""What `logging` fills in."""
LEAST = 10
"""A shorter message would be found anywhere."""
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def spans(page: Path) -> list[str]:
    """All that stands as code within a line."""
    return _SPAN.findall(_FENCE.sub("", page.read_text()))


# Links


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_somewhere(page):
    assert not broken_links(page)


def test_every_page_can_be_reached_from_the_readme():
    met, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in met and page.suffix == ".md" and page.is_file():
            met.add(page)
            links = [link.partition("#")[0] for link in _LINK.findall(page.read_text()) if ":" not in link]
            todo += [(page.parent / link).resolve() for link in links if link]
    assert not set(PAGES) - met


# Files and functions


@cache
def defined(path: Path) -> frozenset[str]:
    """Names that a module defines, `Class.method` too."""
    names: set[str] = set()

    def note(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(before + node.name)
            if isinstance(node, ast.ClassDef):
                note(node.body, f"{before}{node.name}.")
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names.update(before + target.id for target in targets if isinstance(target, ast.Name))

    note(ast.parse(path.read_text()).body, "")
    return frozenset(names)


@cache
def files() -> frozenset[str]:
    """Paths of the repository's own files, from its root."""
    found = {path for top in TOP for path in (ROOT / top).rglob("*") if "__pycache__" not in path.parts}
    return frozenset(path.relative_to(ROOT).as_posix() for path in found if path.is_file())


def missing_names(page: Path) -> list[str]:
    """Code spans that name a file, a function or a test which is not there."""
    missing, test_file = [], ""
    for span in spans(page):
        if "::" in span and " " not in span and span != "::name":
            file, _, name = span.partition("::")
            test_file = file.removeprefix("tests/") or test_file
            path = ROOT / "tests" / test_file
            if not path.is_file() or name.partition("[")[0].replace("::", ".") not in defined(path):
                missing.append(span)
        elif (match := re.fullmatch(r"([\w.-]+(?:/[\w.*-]+)*/?)(?::([\w.]+))?", span)) and not names_something(
            *match.groups()
        ):
            missing.append(span)
    return missing


def names_something(place: str, name: str | None) -> bool:
    """Whether a path, or the end of one, exists and defines `name`.

    True for what is not spelled like a file of the repository, and for what only a run makes.
    """
    is_rooted = place.partition("/")[0] in TOP and "/" in place
    if place.startswith(MADE) or (not is_rooted and not place.endswith((".py", ".sh"))):
        return True
    if not is_rooted:
        found = [file for file in files() if f"/{file}".endswith(f"/{place}")]
    elif "*" in place:
        found = [path.as_posix() for path in ROOT.glob(place)]
    else:
        found = [path for path in (place, f"tests/{place}") if (ROOT / path).exists()]
    return bool(found) and (name is None or any(name in defined(ROOT / file) for file in found))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_file_and_function_that_is_named_exists(page):
    assert not missing_names(page)


def test_what_is_gone_is_found(tmp_path):
    """The checks above can fail."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](gone.md) [b](#two) [c](#one) `shards/tar.py:write_shard` `shards/tar.py:gone` `shards/gone.py` `gone.py` "
        "`core/test_docs.py::test_gone` `::test_what_is_gone_is_found` `tar.py` `data/shards`"
    )
    assert broken_links(page) == ["gone.md", "#two"]
    assert missing_names(page) == ["shards/tar.py:gone", "shards/gone.py", "gone.py", "core/test_docs.py::test_gone"]


# Commands


def listed(*words: str) -> set[str]:
    """The commands, or a command's actions, that its --help lists."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return set(re.findall(r"^    ([a-z][a-z-]*)(?= |$)", text.getvalue(), re.MULTILINE))


def test_every_command_that_is_named_exists():
    known = listed()
    actions = {command: listed(command) for command in ("shards", "style", "augment")}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert "wandb-follow" in known and "regenerate" in actions["shards"]
    for page in PAGES:
        fences = _FENCE.findall(page.read_text())
        quoted = quoted_messages() if page == MESSAGES else []
        code = "\n".join([*(span for span in spans(page) if span not in quoted), *fences])
        for command, action in re.findall(r"(?<![\w/'-])mlseg ([a-z][a-z-]+)(?: ([a-z|]+))?", code):
            assert command in known, page
            assert not action or command not in actions or set(action.split("|")) <= actions[command], page
        assert set(re.findall(r"^make ([a-z][a-z-]+)", code, re.MULTILINE)) <= targets, page


# Messages


def template(node: ast.expr) -> str | None:
    """The text that an expression comes to, GAP for what is filled in; None where it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [template(side) for side in (node.left, node.right)]
        return None if parts == [None, None] else "".join(GAP if part is None else part for part in parts)
    return None


def templates(tree: ast.AST) -> Iterator[str]:
    """All texts of a module but its docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            continue
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and (text := template(child)) is not None:
                yield normal(_LOGGED.sub(GAP, text))


def normal(message: str) -> str:
    """With single blanks and gaps, and without the full stop that is printed or not."""
    message = re.sub(rf"{GAP}(?:\s*{GAP})+", GAP, " ".join(message.split()))
    return message.removesuffix(".")


@cache
def known_messages() -> frozenset[str]:
    found = {
        text
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        for text in templates(ast.parse(path.read_text()))
    }
    shell = re.findall(r'echo "(.*?)"', (ROOT / "slurm/master.sh").read_text())
    return frozenset(found | {normal(text) for text in shell})


def is_known(message: str) -> bool:
    """Whether the program says this: all of a text, or its beginning or end where GAP stands for the rest."""
    wanted = normal(message)
    if wanted in known_messages():
        return True
    begin, end, rest = wanted.startswith(GAP), wanted.endswith(GAP), wanted.strip(GAP)
    if begin and end:
        return any(rest in text for text in known_messages())
    return any((begin and text.endswith(rest)) or (end and text.startswith(rest)) for text in known_messages())


def quoted_messages() -> list[str]:
    """The code spans in the first column of the page's tables."""
    rows = re.findall(r"^\| *(`[^|]*`)[^|`]*\|", MESSAGES.read_text(), re.MULTILINE)
    return [message for row in rows for message in _SPAN.findall(row)]


def test_every_message_of_the_troubleshooting_page_is_one_that_the_code_has():
    quoted = quoted_messages()
    assert len(quoted) >= 40
    assert not [message for message in quoted if len(message.replace(GAP, "")) < LEAST]
    assert not [message for message in quoted if not is_known(message)]
    assert len(set(quoted)) == len(quoted)


def test_a_message_that_changed_is_found():
    assert is_known("no such slide table") and is_known("the slide cannot be opened (…)")
    assert not is_known("no such slide tables") and not is_known("the slide can not be opened (…)")
    assert is_known("… slides are in quarantine, see …") and not is_known("… slides were in quarantine, see …")
