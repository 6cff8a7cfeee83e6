"""`mlseg init`: a folder that can be worked in, and nothing of a person's is changed."""

import os
import subprocess
from pathlib import Path

import pytest

from launch.cli import COMMANDS, main
from launch.config import load_campaign
from launch.paths import base_of
from launch.working_folder import lay_out
from mlseg_core.config import read_yaml
from mlseg_core.errors import UserError


def test_a_second_time_only_what_is_missing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "work"
    first = lay_out(folder)
    assert {"configs/demo.yaml", "slurm/master.sh", "README.md", "mlseg.json"} <= set(first.written) and not first.kept
    assert not any("proof" in name for name in first.written)
    assert len((folder / "README.md").read_text().splitlines()) <= 10
    (folder / "configs" / "paper.yaml").write_text("mine: 1\n")
    (folder / "configs" / "demo.yaml").unlink()
    assert main(["init", str(folder)]) == 0
    assert "wrote 1 files" in capsys.readouterr().out
    assert (folder / "configs" / "paper.yaml").read_text() == "mine: 1\n" and (
        folder / "configs" / "demo.yaml"
    ).is_file()
    assert lay_out(folder).kept == ["configs/paper.yaml"]


def test_what_is_in_the_way_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "slurm").write_text("a note")
    with pytest.raises(UserError, match="it is a file, not a folder"):
        lay_out(tmp_path)
    (tmp_path / "other" / "README.md").mkdir(parents=True)
    with pytest.raises(UserError, match="a folder is where a file has to go"):
        lay_out(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["README.md", "other", "slurm"]


def test_its_configs_are_found_from_every_folder_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path)
    below = tmp_path / "mine" / "first"
    below.mkdir(parents=True)
    (below / "a.yaml").write_text("extends: configs/demo.yaml\nname: mine\n")
    assert base_of(below / "a.yaml") == tmp_path
    assert load_campaign(below / "a.yaml").folder == tmp_path / "runs" / "mine"
    monkeypatch.chdir(below)
    assert main(["plan", "configs/demo.yaml", "--json"]) == 0
    assert f'"run": "{tmp_path}/runs/demo"' in capsys.readouterr().out
    assert main(["plan", "configs/none.yaml"]) == 2
    assert "mlseg init DIR" in capsys.readouterr().err
    (below / "b.yaml").write_text("extends: elsewhere/demo.yaml\n")
    with pytest.raises(UserError, match="no such config file"):
        read_yaml(below / "b.yaml")


@pytest.mark.parametrize(
    ("given", "run"),
    [
        (["configs/demo.yaml", "seed=2"], ["configs/demo.yaml", "seed=2"]),
        (["--accept", "configs/demo.yaml"], ["configs/demo.yaml", "--accept"]),
        (["--cluster", "mysite", "configs/demo.yaml", "a=b"], ["configs/demo.yaml", "--cluster", "mysite", "a=b"]),
        (["seed=2", "--cluster=mysite", "configs/demo.yaml"], ["configs/demo.yaml", "seed=2", "--cluster=mysite"]),
        (["--accept"], ["configs/paper.yaml", "--accept"]),
        ([], ["configs/paper.yaml"]),
    ],
)
def test_master_sh_starts_from_such_a_folder(tmp_path: Path, given: list[str], run: list[str]) -> None:
    """With an `mlseg` that shows its words in place of ours, from another folder."""
    lay_out(tmp_path / "work")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mlseg").write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    (tmp_path / "bin" / "mlseg").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    environment.pop("SLURM_SUBMIT_DIR", None)
    words = ["bash", tmp_path / "work" / "slurm" / "master.sh", *given]
    said = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(tmp_path / "work"), "run", *run]


def test_help_lists_every_command_and_each_has_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], *([name, "--help"] for name in COMMANDS)):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert all(name in shown for name in COMMANDS) if len(words) == 1 else f"usage: mlseg {words[0]}" in shown
        assert len(words) == 1 or "-h, --help" in shown
    with pytest.raises(SystemExit):
        main(["plam"])
    assert "invalid choice: 'plam'" in capsys.readouterr().err
