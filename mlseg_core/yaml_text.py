"""YAML in and out, by the core schema of YAML 1.2, and strictly: what a person did not mean is refused, with its line.

PyYAML by itself reads YAML 1.1, where a time limit of 24:00:00 is the number 86400, 010 is 8, `no` is false, a date is no text and
1e-3 is no number. Here the first, the third and the fourth are text, 010 is 10 (as YAML 1.2 has it) and 1e-3 is a number. Two
things of YAML 1.1 stay, because files may use them: digits in groups (12_000_000), and the merge key `<<`.

Refused: a key that stands twice in one map, a second document, `.inf` and `.nan`, whole numbers of more than 64 bits, tags other
than those of plain values, text that is not UTF-8 or holds NUL, and what only a hostile file has: nesting, aliases or sizes
beyond all reason. Anchors and aliases within reason are fine. No other module imports yaml.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mlseg_core.errors import UserError

_NUMBER_OF_1_2 = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_RULES = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", rf"{_NUMBER_OF_1_2}|[-+]?[0-9]+(?:_[0-9]+)*\.[0-9]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)  # fmt: skip
"""Kind of plain (unquoted) value, what it looks like, its first characters."""
_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")) | {"!"}
_MERGE = "tag:yaml.org,2002:merge"
_MOST_BYTES = 8 << 20
_DEEPEST = 50
_MOST_NODES = 500_000
"""Values in a document once its aliases are written out."""
_MOST_DIGITS = 100
_BITS = 64


class BadYaml(ValueError):
    """Text that is no YAML, or none that a config may hold. line: where, from 1; None where no line can be named."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(f"{what} (line {line})" if line else what)
        self.what, self.line = what, line


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's parser, where there is one
    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        if len(text) > _MOST_DIGITS or abs(value := int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))) >> _BITS:
            raise BadYaml(f"a number that is too large: {_short(text)}", _line(node))
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node))
        if len(text) > _MOST_DIGITS or not math.isfinite(value := float(super().construct_yaml_float(node))):
            raise BadYaml(f"{_short(text)} is not a finite number, and a config holds no other", _line(node))
        return value


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would take for anything else than text, so that either reads it back."""


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
for _kind, _pattern, _first in _RULES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def read(path: Path) -> Any:
    """The tree of a YAML file. Raises UserError that names the line; OSError where the file cannot be read."""
    with open(path, "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    try:
        return parse(_decoded(data))
    except BadYaml as error:
        where = f"{path} line {error.line}" if error.line else path
        raise UserError(f"not valid YAML: {error.what}", where, "Correct the file.") from None


def parse(text: str) -> Any:
    """The tree of a YAML document. Raises BadYaml."""
    if len(text) > _MOST_BYTES:
        raise BadYaml(f"more than {_MOST_BYTES >> 20} MB of text")
    if "\0" in text:
        raise BadYaml("it holds a NUL character", text.count("\n", 0, text.index("\0")) + 1)
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_keys(node, loader)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _bad(error, text) from None
    except BadYaml:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # PyYAML's own, for `!!int x`
        raise BadYaml(f"a value that is not of the kind that its tag says ({error})") from None


def write(tree: Any) -> str:
    """A plain tree as YAML, keys in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _decoded(data: bytes) -> str:
    if len(data) > _MOST_BYTES:
        raise BadYaml(f"more than {_MOST_BYTES >> 20} MB of text")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadYaml("the text is UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadYaml("the text is not UTF-8: save it as UTF-8", data.count(b"\n", 0, error.start) + 1) from None


def _check_events(text: str) -> None:
    """One document, no deeper or larger than a config can be, aliases written out. Builds nothing. Raises BadYaml, YAMLError."""
    sizes: dict[str, int] = {}  # anchor -> values below it
    open_nodes: list[tuple[str | None, int, int]] = []  # anchor, values before it, line
    values = documents = 0
    for event in yaml.parse(text, _Loader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise BadYaml("a second document begins, and a config is one", line)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                contains = any(anchor == event.anchor for anchor, _, _ in open_nodes)
                what = f"the alias *{event.anchor} lies inside of what it stands for" if contains else None
                raise BadYaml(what or f"the alias *{event.anchor} stands for nothing", line)
            values += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.tag is not None and event.tag not in _TAGS:
                raise BadYaml(f"the tag {_short(event.tag)} has no place in a config", line)
            values += 1
            if isinstance(event, yaml.ScalarEvent):
                if "\0" in event.value:
                    raise BadYaml("it holds a NUL character", line)
                if event.anchor is not None:
                    sizes[event.anchor] = 1
            else:
                open_nodes.append((event.anchor, values - 1, line))
                if event.anchor is not None:
                    sizes.pop(event.anchor, None)  # an anchor may be used again
                if len(open_nodes) > _DEEPEST:
                    raise BadYaml(f"nested more than {_DEEPEST} deep", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before, _ = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        if values > _MOST_NODES:
            raise BadYaml(f"more than {_MOST_NODES} values, with its aliases written out", line)


def _check_keys(root: yaml.Node, loader: _Loader) -> None:
    """No key twice in one map, no key that is a map or a list. `1` and `'1'` are one key, as in JSON. Raises BadYaml."""
    for node in _nodes(root):
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = _line(key)
            if not isinstance(key, yaml.ScalarNode):
                raise BadYaml("a map or a list as a key", line)
            value = key.value if key.tag == _MERGE else loader.construct_object(key)
            name = value if isinstance(value, str) else json.dumps(value)
            if name in lines:
                raise BadYaml(f"the key {_short(name)!r} is there twice, first in line {lines[name]}", line)
            lines[name] = line


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Each node once, whatever aliases lead to it."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        node = waiting.pop()
        yield node
        below = []
        if isinstance(node, yaml.MappingNode):
            below = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            below = node.value
        for part in below:
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _bad(error: yaml.YAMLError, text: str) -> BadYaml:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line = mark.line if mark else text.count("\n", 0, max(0, getattr(error, "position", 0)))
    return BadYaml(" ".join(str(what).split()), min(line + 1, max(1, len(text.splitlines()))))
