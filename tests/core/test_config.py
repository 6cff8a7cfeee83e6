"""Strict configs: what is right loads, what is wrong is one line that names file, key and fix."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from mlseg_core.config import StableDump, Strict, differences, dump_config, load_config, validate
from mlseg_core.errors import UserError, exit_status


class Inner(Strict):
    width: Annotated[int, Field(ge=1)] = 4
    mode: Literal["a", "b"] = "a"


class Item(Strict):
    name: str
    inner: Inner = Inner()


class Outer(Strict):
    rate: float
    inner: Inner = Inner()
    items: tuple[Item, ...] = ()
    where: Path = Path("here")


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_loads_lists_as_tuples_and_integers_as_floats(tmp_path):
    config = load_config(write(tmp_path, "rate: 2\nitems: [{name: x}, {name: y}]\nwhere: some/where"), Outer)
    assert config == Outer(rate=2.0, items=(Item(name="x"), Item(name="y")), where=Path("some/where"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate: 1\nrat: 2", ["unknown key 'rat'", "Did you mean 'rate'"]),
        ("rate: 1\ninner: {widht: 2}", ["unknown key 'inner.widht'", "Did you mean 'width'", "mode, width"]),
        ("rate: 1\nitems: [{name: x, inner: {depth: 2}}]", ["unknown key 'items.0.inner.depth'", "mode, width"]),
        ("rate: fast", ["key 'rate'", '"fast"']),
        ("rate: '1.5'", ["key 'rate'"]),
        ("rate: 1\ninner: {width: 0}", ["key 'inner.width'", "greater than or equal to 1", "0"]),
        ("rate: 1\ninner: {mode: c}", ["key 'inner.mode'", "'a' or 'b'"]),
        ("inner: {}", ["key 'rate' is missing"]),
        ("rate: [", [" line 1: not valid YAML"]),
        ("- 1", ["must be a map"]),
    ],
)
def test_mistakes_are_one_line_with_file_and_key(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_config(path, Outer)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message
    assert exit_status(caught.value) == 2


def test_yaml_cannot_run_code(tmp_path):
    marker = tmp_path / "ran"
    path = write(
        tmp_path, f"rate: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{marker}']]"
    )
    with pytest.raises(UserError):
        load_config(path, Outer)
    assert not marker.exists()


def test_overrides_reach_into_maps_and_named_items(tmp_path):
    path = write(tmp_path, "rate: 1\nitems: [{name: x}, {name: y}]")
    config = load_config(path, Outer, ["rate=3", "items.y.inner.width=7", "items.0.inner.mode=b", "inner.width=9"])
    assert (config.rate, config.items[1].inner.width, config.items[0].inner.mode, config.inner.width) == (3, 7, "b", 9)


@pytest.mark.parametrize("override", ["rate", "=1", "items.z.name=1", "rate.x=1", "items.5.name=q", "inner.nope=1"])
def test_wrong_overrides_are_user_errors(tmp_path, override):
    path = write(tmp_path, "rate: 1\nitems: [{name: x}]")
    with pytest.raises(UserError):
        load_config(path, Outer, [override])


def test_extends_merges_maps_and_finds_circles(tmp_path):
    write(tmp_path, "rate: 1\ninner: {width: 2, mode: b}", "base.yaml")
    child = write(tmp_path, "extends: base.yaml\ninner: {width: 3}", "child.yaml")
    assert load_config(child, Outer).inner == Inner(width=3, mode="b")
    loop = write(tmp_path, "extends: loop.yaml\nrate: 1", "loop.yaml")
    with pytest.raises(UserError, match="circle"):
        load_config(loop, Outer)


def test_the_dumped_config_loads_to_the_same(tmp_path):
    config = load_config(write(tmp_path, "rate: 0.1\nitems: [{name: 'é \"$(x)'}]"), Outer)
    dump_config(config, tmp_path / "out.yaml")
    assert load_config(tmp_path / "out.yaml", Outer) == config


def test_differences_name_each_key_with_both_values():
    before = Outer(rate=0.5, items=(Item(name="x"), Item(name="y")))
    assert differences(before, before) == []
    after = Outer(rate=0.5, items=(Item(name="x"), Item(name="y", inner=Inner(width=7))), where=Path("t" * 90))
    assert differences(before, after) == ["items.1.inner.width is 7, was 4", f'where is "{"t" * 58}…, was "here"']
    assert differences(before, Outer(rate=1.0)) == [
        "rate is 1.0, was 0.5",
        'items is [], was [{"name": "x", "inner": {"width": 4, "mode": "a"}}, {"name"…',
    ]


class Grown(StableDump):
    added_later: ClassVar = ("colour",)
    dumped_if_set: ClassVar = ("workers",)

    size: int = 3
    colour: str | None = None
    workers: int | Literal["auto"] = "auto"


@pytest.mark.parametrize(
    ("raw", "dumped"),
    [
        ({}, {"size": 3}),
        ({"colour": None}, {"size": 3}),
        ({"colour": "red"}, {"size": 3, "colour": "red"}),
        ({"workers": "auto"}, {"size": 3, "workers": "auto"}),
    ],
)
def test_fields_added_later_are_dumped_only_where_they_say_something(raw, dumped):
    """Frozen code of earlier runs does not know them, and fingerprints are made of dumps."""
    config = validate(raw, Grown, "test")
    assert config.model_dump(mode="json") == dumped and config.model_dump(exclude={"colour", "workers"}) == {"size": 3}
    assert validate(dumped, Grown, "test") == config
