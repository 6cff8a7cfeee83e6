"""Config files are read by YAML 1.2: what 1.1 turns into numbers, truths and dates behind a person's back stays text."""

import subprocess
import time
from pathlib import Path

import pytest
import yaml

from mlseg_core.config import Strict, load_config
from mlseg_core.errors import UserError
from mlseg_core.yaml_text import BadYaml, parse, read, write

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24:00:00", "24:00:00"),
        ("1-00:00:00", "1-00:00:00"),
        ("30:00", "30:00"),
        ("010", 10),
        ("-08", -8),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("12_000_000", 12_000_000),
        ("1e-3", 0.001),
        ("1.5e3", 1500.0),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("off", "off"),
        ("TRUE", True),
        ("false", False),
        ("2026-01-31", "2026-01-31"),
        ("~", None),
        ("", None),
        ("'010'", "010"),
        ("h100:8", "h100:8"),
    ],
)
def test_values(text: str, value: object) -> None:
    found = parse(f"key: {text}")["key"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["24:00:00", "010", "1e3", "0o17", "no", "2026-01-31", "1_0", "=", "<<", "~", "", ".5", "1."]
)
def test_text_is_written_so_that_both_versions_read_text(text: str) -> None:
    """The frozen code of earlier runs reads by YAML 1.1."""
    written = write({"key": text})
    assert parse(written) == yaml.safe_load(written) == {"key": text}


def test_every_config_that_we_ship_reads_as_it_did() -> None:
    known = subprocess.run(["git", "ls-files", "*.yaml"], cwd=PROJECT, capture_output=True, text=True, check=False)
    paths = [PROJECT / name for name in known.stdout.splitlines()] or list((PROJECT / "configs").rglob("*.yaml"))
    times = {"12:00:00": 43200, "04:00:00": 14400}  # of today's cluster files
    assert len(paths) > 20
    for path in paths:
        text = path.read_text()
        for word, seconds in times.items():
            text = text.replace(word, str(seconds))
        assert repr(parse(text)) == repr(yaml.safe_load(text)), path


class _Switch(Strict):
    enabled: bool = False
    time: str = ""


def test_overrides_too_and_a_yes_that_was_true_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("enabled: true\n")
    assert load_config(path, _Switch, ["time=24:00:00"]).time == "24:00:00"
    with pytest.raises(UserError, match=r"'enabled'.*got \"yes\".*Write true or false"):
        load_config(path, _Switch, ["enabled=yes"])


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("seed: 1\nname: x\nseed: 2\n", "the key 'seed' is there twice, first in line 1", 3),
        ("steps:\n  - {name: base, lr: 1, lr: 2}\n", "the key 'lr' is there twice", 2),
        (
            "classes:\n  1: a\n  '1': b\n",
            "the key '1' is there twice",
            3,
        ),  # JSON, in which configs are checked, has one
        ("classes: {0x1: a, 1: b}", "the key '1' is there twice", 1),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "the key '<<' is there twice", 4),
        ("a: 1\n---\nb: 2\n", "second document", 2),
        ("rate: .inf", ".inf is not a finite number", 1),
        ("rate: -.INF", "not a finite number", 1),
        ("a: 1\nrate: .nan", ".nan is not a finite number", 2),
        ("rate: 1e999", "not a finite number", 1),
        ("seed: 18446744073709551616", "too large", 1),
        ("seed: " + "9" * 5000, "too large", 1),
        ("a: &a [*a]", "inside of what it stands for", 1),
        ("a: *b", "stands for nothing", 1),
        ("a: !!timestamp x", "tag", 1),
        ("a: !!python/object/apply:os.getpid []", "tag", 1),
        ("a: !!set {b}", "tag", 1),
        ("a: !!int x", "not of the kind that its tag says", None),
        ('a: 1\nb: "x\\0y"', "NUL", 2),
        ("a: 1\nb: x\0y", "NUL", 2),
        ("a: 1\nb: \x01", "control characters", 2),
        ("? [a]\n: 1", "a map or a list as a key", 1),
        ("<<: 1", "merging", 1),
        ("a:\n  - b\n c: d\n", "", 3),
    ],
)
def test_what_nobody_means_is_refused_with_its_line(text: str, what: str, line: int | None) -> None:
    with pytest.raises(BadYaml) as caught:
        parse(text)
    assert what in caught.value.what and caught.value.line == line
    assert "\n" not in str(caught.value)


def test_merging_and_aliases_within_reason_stay() -> None:
    text = "base: &base {lr: 1, wd: 2}\nsteps:\n  - {<<: *base, lr: 3}\n  - *base\n"
    assert parse(text)["steps"] == [{"lr": 3, "wd": 2}, {"lr": 1, "wd": 2}]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_depth_is_bounded(opening: str) -> None:
    deepest = "[" * 50 + "]" * 50
    assert parse(deepest)
    for times in (51, 900, 100_000):
        with pytest.raises(BadYaml, match=r"nested more than 50 deep|nesting depth"):
            parse(opening * times)


def test_bombs_end_at_once() -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 12))
    maps = "\n".join(f"l{i}: &l{i} {{<<: [{', '.join([f'*l{i - 1}'] * 10)}]}}" for i in range(1, 12))
    before = time.monotonic()
    for bomb in (f"l0: &l0 [lol]\n{levels}", f"l0: &l0 {{a: 1}}\n{maps}"):
        with pytest.raises(BadYaml, match="aliases written out"):
            parse(bomb)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: 1\nb: \xff\n", ["c.yaml line 2", "not UTF-8"]),
        ("a: 1\n".encode("utf-16"), ["UTF-16"]),
        (b"a: 1\n# " + b"x" * (8 << 20), ["more than 8 MB"]),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, data: bytes, words: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read(path)
    assert all(word in str(caught.value) for word in words)


def test_a_byte_order_mark_and_other_ends_of_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read(path) == {"a": 1, "b": 2}


def test_no_other_module_reads_yaml() -> None:
    """One strict loader for all commands."""
    using = [
        str(path.relative_to(PROJECT))
        for package in ("launch", "mlseg_core", "mlseg_dist", "shards", "benchmarks")
        for path in (PROJECT / package).rglob("*.py")
        if any(
            line.split("#")[0].strip().startswith(("import yaml", "from yaml"))
            for line in path.read_text().splitlines()
        )
    ]
    assert using == ["mlseg_core/yaml_text.py"]


@pytest.mark.parametrize("extends", ["5", "{a: b}", "[1]", "[a.yaml, a.yaml]"])
def test_extends_is_a_name_or_names(tmp_path: Path, extends: str) -> None:
    (tmp_path / "a.yaml").write_text("enabled: true\n")
    (tmp_path / "b.yaml").write_text(f"extends: {extends}\n")
    with pytest.raises(UserError, match="`extends`"):
        load_config(tmp_path / "b.yaml", _Switch)


def test_a_chain_of_files_is_bounded(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    (tmp_path / "30.yaml").write_text("enabled: true\n")
    assert load_config(tmp_path / "12.yaml", _Switch).enabled
    with pytest.raises(UserError, match="more than 20 files"):
        load_config(tmp_path / "0.yaml", _Switch)
