"""Strict typed configs: a YAML file, an optional `extends`, dotted overrides -> a frozen pydantic model.

Every mistake is a UserError that names the file, the key and what is allowed there.
"""

import difflib
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from mlseg_core import yaml_text
from mlseg_core.errors import UserError
from mlseg_core.files import find_shipped, write_atomic

_MOST_SHOWN = 60
_DEEPEST = 20  # files that extend each other


class Strict(BaseModel):
    """Base of every config model: unknown keys are errors, types are not coerced, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def spelled_out(cls, raw: Any, where: Path | str) -> Any:
        """The plain tree with the model's own shorthand (names that stand for values) written out. Raises UserError."""
        return raw

    def compared(self) -> dict[str, Any]:
        """The plain values by which two configs are told apart."""
        return self.model_dump(mode="json")


class StableDump(Strict):
    """A config whose dumps stay as they were before fields were added to it.

    A new field is left out of dumps while it holds its default: the frozen code of earlier runs does not know it, and fingerprints
    of earlier campaigns do not change. Dumps without it load as before.
    """

    added_later: ClassVar[tuple[str, ...]] = ()
    """Fields that are left out while they hold their default."""
    dumped_if_set: ClassVar[tuple[str, ...]] = ()
    """Fields that are left out unless somebody set them, as their default was another one before."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        for name in self.added_later:
            if getattr(self, name) == fields[name].default:
                values.pop(name, None)
        for name in self.dumped_if_set:
            if name not in self.model_fields_set:
                values.pop(name, None)
        return values


Model = TypeVar("Model", bound=Strict)
Change = Callable[[dict[str, Any]], None]
"""Changes a plain tree in place. Raises ValueError where it cannot be right."""


@dataclass(frozen=True)
class Reading:
    """How files become one tree.

    each: changes every file's own tree, before it is merged with those that it extends.
    site: a file whose keys are the defaults of all others.  instead: with a site, whether a file that is extended gives way to it.
    """

    each: Change = lambda raw: None
    site: Path | None = None
    instead: Callable[[dict[str, Any]], bool] = lambda raw: False


def load_config(
    path: Path | str,
    model: type[Model],
    overrides: list[str] | tuple[str, ...] = (),
    section: str = "",
    before: Change = lambda raw: None,
    after: Change = lambda raw: None,
    reading: Reading = Reading(),
) -> Model:
    """Read `path`, or one section of it, as `model`.

    `extends: other.yaml` (or a list) in the file names files, relative to it, whose keys are the defaults; `configs/…` is
    also looked for in the folders above it.
    overrides: `a.b=value`; the value is YAML; an item of a list is named by its index or its `name`.
    before, after: change the plain tree in place, before and after the overrides are applied.
    Raises UserError.
    """
    path = Path(path)
    raw = read_yaml(path, reading)
    before(raw)
    for override in overrides:
        _apply_override(raw, override)
    after(raw)
    return validate(raw[section] if section else raw, model, path)


def validate(raw: Any, model: type[Model], where: Path | str) -> Model:
    """Check a plain tree (as YAML or JSON gives it) against `model`. Raises UserError that names `where` and the key."""
    raw = model.spelled_out(raw, where)
    try:
        # JSON mode stays strict, yet takes a list for a tuple and a string for a Path or a Literal.
        return model.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise _explain(error, model, where) from None
    except TypeError as error:
        raise UserError(
            f"a value has no place in a config: {error}", where, "Use text, numbers, lists and maps."
        ) from None


def read_yaml(path: Path, reading: Reading = Reading()) -> dict[str, Any]:
    """The file's tree with `extends` resolved. Raises UserError."""
    if reading.site is None:
        return _read_extended(path, (), reading)
    return _merge(_read_extended(reading.site, (), Reading(reading.each)), _read_extended(path, (), reading))


def _read_extended(path: Path, seen: tuple[Path, ...], reading: Reading) -> dict[str, Any]:
    if path.resolve() in seen:
        raise UserError("`extends` goes round in a circle", path, "Remove one of the `extends` lines.")
    if not path.is_file():
        raise UserError("no such config file", path, "Give the path of a YAML file; mlseg init DIR lays some out.")
    if len(seen) > _DEEPEST:
        raise UserError(f"`extends` leads through more than {_DEEPEST} files", path, "Shorten the chain.")
    raw = yaml_text.read(path)
    if not isinstance(raw, dict):
        raise UserError("the config must be a map of keys", path, "See configs/demo.yaml.")
    parents = raw.pop("extends", [])
    try:
        reading.each(raw)
    except ValueError as error:
        raise UserError(str(error), path, "Correct the file.") from None
    tree: dict[str, Any] = {}
    for parent in _extended(parents, path):
        extended = find_shipped(parent, path.parent)
        tree = _merge(tree, _read_extended(extended, (*seen, path.resolve()), reading))
    if seen and reading.site is not None and reading.instead(raw):
        return tree
    return _merge(tree, raw)


def _extended(parents: Any, path: Path) -> list[str]:
    """The names that `extends` gives. Raises UserError."""
    names = [parents] if isinstance(parents, str) else parents
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError("`extends` is neither the name of a file nor a list of them", path, "Correct the file.")
    if len(set(names)) < len(names):
        raise UserError("`extends` names one file twice", path, "Name each file once.")
    return names


def _merge(under: dict, over: dict) -> dict:
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def differences(before: Strict, after: Strict) -> list[str]:
    """`a.b is NEW, was OLD` for each key whose value is another one."""
    return list(_differences(before.compared(), after.compared(), ""))


def _differences(before: Any, after: Any, key: str) -> Iterator[str]:
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        before, after = dict(enumerate(before)), dict(enumerate(after))
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before | after:
            yield from _differences(before.get(name), after.get(name), f"{key}.{name}" if key else str(name))
    elif before != after:
        yield f"{key} is {_shown(after)}, was {_shown(before)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def _apply_override(raw: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"override {override!r} is not of the form key.path=value", "command line", "Example: seed=7")
    try:
        value = yaml_text.parse(text)
    except yaml_text.BadYaml as error:
        raise UserError(f"override {key!r}: not valid YAML: {error.what}", "command line", "Quote it.") from None
    *parents, last = key.split(".")
    node: Any = raw
    for part in parents:
        node = _child(node, part, key)
    if isinstance(node, list):
        node[_position(node, last, key)] = value
    else:
        node[last] = value


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, part, key)]
    child = node.get(part)
    if child is None:
        child = node[part] = {}
    if not isinstance(child, dict | list):
        raise UserError(f"override {key!r}: {part!r} holds a plain value", "command line", "Shorten the key.")
    return child


def _position(items: list, part: str, key: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    known = ", ".join(str(name) for name in names if name) or f"0 to {len(items) - 1}"
    raise UserError(f"override {key!r}: no item {part!r}", "command line", f"There are: {known}.")


def dump_config(config: Strict, path: Path, mode: int | None = None) -> None:
    """Write the resolved config as YAML, atomically. mode: of the file; None: as the umask has it."""
    write_atomic(path, yaml_text.write(config.model_dump(mode="json")), mode=mode)


def _explain(error: ValidationError, model: type[BaseModel], where: Path | str) -> UserError:
    first = error.errors()[0]
    location = [part for part in first["loc"] if not _is_union_tag(part)]
    key = ".".join(str(part) for part in location) or "(top level)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        return unknown_key(key, str(location[-1]), owner.model_fields if owner else (), where, more)
    if first["type"] == "missing":
        return UserError(f"key {key!r} is missing{more}", where, "Add it.")
    if first["type"] == "union_tag_not_found":
        tag = first["ctx"]["discriminator"].strip("'")
        return UserError(f"key '{key}.{tag}' is missing{more}", where, "Add it: it says which kind this is.")
    if first["type"] == "union_tag_invalid":
        tag, allowed = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace("'", "").split(", ")
        near = difflib.get_close_matches(tag, allowed, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return UserError(f"key {key!r}: there is no {tag!r}{more}", where, f"{hint}Allowed here: {', '.join(allowed)}.")
    got = first.get("input")
    shown = "" if isinstance(got, dict | list) else f" (got {json.dumps(got, default=str)})"
    message = first["msg"].removeprefix("Value error, ")
    fix = "Write true or false." if first["type"] == "bool_type" else "Correct the value."
    return UserError(f"key {key!r}: {message}{shown}{more}", where, fix)


def unknown_key(key: str, last: str, allowed: Iterable[str], where: Path | str, more: str = "") -> UserError:
    """What to say of a key that nobody knows. last: its last part, as one of `allowed` might have been meant by it."""
    names = sorted(allowed)
    near = difflib.get_close_matches(last, names, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown key {key!r}{more}", where, f"{hint}Allowed here: {', '.join(names)}.")


def _is_union_tag(part: Any) -> bool:
    return isinstance(part, str) and ("[" in part or part.startswith("function-"))


def _model_at(model: Any, location: list) -> type[BaseModel] | None:
    for part in location:
        model, kinds = _unwrap(model), _kinds(model)
        if kinds:
            model = kinds.get(part)
        elif isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
        elif typing.get_origin(model) in (list, tuple, dict):
            model = [a for a in typing.get_args(model) if a is not Ellipsis][-1]
        else:
            return None
    model = _unwrap(model)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _kinds(annotation: Any) -> dict[Any, Any]:
    """The models of a union that a field tells apart: the field's value -> the model."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return {}
    found = [a for a in annotation.__metadata__ if getattr(a, "discriminator", None)]
    members = typing.get_args(typing.get_args(annotation)[0])
    return {
        value: member
        for field in found
        for member in members
        for value in typing.get_args(member.model_fields[field.discriminator].annotation)
    }


def _unwrap(annotation: Any) -> Any:
    """Optional[X] -> X, Annotated[X, ...] -> X."""
    while typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
        annotation = arguments[0]
    return annotation
