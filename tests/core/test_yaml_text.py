"""Config files are read by YAML 1.2: what 1.1 turns into numbers, truths and dates behind a person's back stays text."""

import math
import subprocess
from pathlib import Path

import pytest
import yaml

from mlseg_core.config import Strict, load_config
from mlseg_core.errors import UserError
from mlseg_core.yaml_text import parse, write

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
        ("-.inf", -math.inf),
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
