"""YAML in and out, by the core schema of YAML 1.2.

PyYAML by itself reads YAML 1.1, where a time limit of 24:00:00 is the number 86400, 010 is 8, `no` is false, a date is no text and
1e-3 is no number. Here the first, the third and the fourth are text, 010 is 10 and 1e-3 is a number. Two things of YAML 1.1 stay,
because files may use them: digits in groups (12_000_000), and the merge key `<<`.
"""

import re
from typing import Any

import yaml

_NUMBER_OF_1_2 = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_RULES = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", rf"{_NUMBER_OF_1_2}|[-+]?[0-9]+(?:_[0-9]+)*\.[0-9]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)  # fmt: skip
"""Kind of plain (unquoted) value, what it looks like, its first characters."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's parser, where there is one
    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would take for anything else than text, so that either reads it back."""


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _kind, _pattern, _first in _RULES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def parse(text: str) -> Any:
    """The tree of a YAML document. Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)


def write(tree: Any) -> str:
    """A plain tree as YAML, keys in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
