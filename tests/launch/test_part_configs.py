"""Files of one part (`shards:`, `tiles:`, `phantom:`) and cluster files are as strict as campaign files: no key is passed over."""

import shutil
from pathlib import Path

import pytest
import yaml

from launch.cli import main
from launch.config import load_recorded
from mlseg_core.errors import UserError

PROJECT = Path(__file__).parents[2]
CLASSES = PROJECT / "configs/classes/breast.yaml"


@pytest.fixture
def with_section(tmp_path: Path) -> Path:
    return Path(shutil.copy(CLASSES, tmp_path / "breast.yaml"))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "bare.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(CLASSES.read_text())["shards"]))
    return path


def _said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stride_umm=64", ["unknown key 'stride_umm'", "shards.stride_um"]),
        ("stride_um=64", ["unknown key 'stride_um'", "shards.stride_um"]),  # it was passed over, too
        ("shards.stride_umm=64", ["unknown key 'stride_umm'", "'stride_um'"]),
        ("shrads.stride_um=64", ["unknown key 'shrads'", "'shards'"]),
    ],
)
def test_an_override_that_nobody_reads_is_refused(
    with_section: Path, override: str, told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _said(
        ["shards", "build", str(with_section), override, "--slides", "x.csv", "--out", str(tmp_path / "o")], capsys
    )
    assert all(word in said for word in told), said
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("override", ["stride_umm=64", "shards.stride_um=64", "shrads.stride_um=64"])
def test_in_a_file_without_sections_too(
    bare: Path, override: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _said(["shards", "build", str(bare), override, "--slides", "x.csv", "--out", str(tmp_path / "o")], capsys)
    assert f"unknown key '{override.split('=')[0].split('.')[0]}'" in said


def test_a_section_that_is_misspelt(with_section: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_section.write_text(with_section.read_text() + "\nshrads: {stride_um: 64}\n")
    said = _said(["shards", "build", str(with_section), "--slides", "x.csv", "--out", str(tmp_path / "o")], capsys)
    assert "unknown key 'shrads'" in said and "Did you mean 'shards'" in said
    only = tmp_path / "only.yaml"
    only.write_text(CLASSES.read_text().replace("shards:", "shrads:"))
    said = _said(["shards", "build", str(only), "--slides", "x.csv", "--out", str(tmp_path / "o")], capsys)
    assert "unknown key 'shrads'" in said and "Did you mean 'shards'" in said


def test_a_key_that_is_there_twice(with_section: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_section.write_text(with_section.read_text() + "\nshards: {stride_um: 64}\n")
    said = _said(["shards", "build", str(with_section), "--slides", "x.csv", "--out", str(tmp_path / "o")], capsys)
    assert "the key 'shards' is there twice" in said and "breast.yaml line " in said


@pytest.mark.parametrize("text", ["clutser: {executor: local}\n", "cluster: {executor: local}\nseed: 3\n", "{}\n"])
def test_a_cluster_file_for_a_recorded_run(text: str, tmp_path: Path, make_campaign) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(text)
    with pytest.raises(UserError, match=r"unknown key|no section"):
        load_recorded(make_campaign(), tmp_path, site=site)
