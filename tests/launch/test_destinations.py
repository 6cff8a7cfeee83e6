"""Where outputs go is checked before any work: one line, exit status 2, and nothing is left behind. So are numbers of processes."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from launch.cli import main
from launch.config import load_campaign
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError, for_a_person
from mlseg_core.own import check_file, check_folder
from shards import tiles
from shards.tiles_config import TilesConfig


def _refused(words: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("mlseg: error: ") and not said.out, said
    return said.err


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        ("{there}/x.txt", "no picture format '.txt'"),
        ("{there}/tiny.yaml/x.svg", "is a file, not a folder"),
        ("{there}", "no picture format"),
        ("{there}/folder.svg", "is a folder, not a file"),
        ("{there}/mine.svg", "is not a file that mlseg wrote here"),
        ("/proc/x.svg", "nothing may be written there"),
    ],
)
def test_a_picture_of_the_graph(config_path: Path, graph: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    (config_path.parent / "folder.svg").mkdir()
    (config_path.parent / "mine.svg").write_text("mine")
    assert told in _refused(["plan", config_path, "--graph", graph.format(there=config_path.parent)], capsys)


@pytest.mark.parametrize("command", ["run", "rehearse"])
def test_runs(config_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for place, told in ((config_path, "is a file, not a folder"), ("/proc/runs", "nothing may be written there")):
        assert told in _refused([command, config_path, f"runs={place}"], capsys)
    assert sorted(path.name for path in config_path.parent.iterdir()) == ["tiny.yaml"]


@pytest.mark.parametrize(
    "words", [["phantom", "{part}"], ["import", "{there}", "{part}"], ["build", "{part}", "--slides", "x.csv"]]
)
def test_out_of_shards(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "part.yaml"
    part.write_text("{}\n")
    given = [word.format(part=part, there=tmp_path) for word in words]
    assert "is a file, not a folder" in _refused(["shards", *given, "--out", part], capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["shards", "build", "c.yaml", "--workers", "0"],
        ["shards", "phantom", "c.yaml", "--workers", "-3"],
        ["shards", "import", "d", "c.yaml", "--workers", "two"],
        ["style", "apply", "c.yaml", "--workers", "0"],
        ["evaluate", "r", "--workers", "0"],
        ["rehearse", "{config}", "--steps", "0"],
        ["status", "r", "--every", "0"],
        ["wandb-follow", "r", "--every", "nan"],
    ],
)
def test_numbers_that_cannot_be(words: list[str], config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _refused([word.format(config=config_path) for word in words], capsys)
    assert f"{words[-2]}: '{words[-1]}' is not a" in said
    assert sorted(path.name for path in config_path.parent.iterdir()) == ["tiny.yaml"], "no folder is left"


def test_run_without_words_asks_for_the_config_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "required: CONFIG" in said and "key.path=value" not in said.splitlines()[-1]


def test_a_missing_slide_table_is_no_success_of_plan(
    config_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = yaml.safe_load(config_path.read_text())
    del raw["phantom"]
    config_path.write_text(yaml.safe_dump({**raw, "slides": str(tmp_path / "none.csv")}))
    assert main(["plan", str(config_path), "--json"]) == 2
    said = capsys.readouterr()
    assert "no such slide table" in said.err and "no such slide table" in json.loads(said.out)["problem"]


def test_places_that_are_not_there_yet_are_fine(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    check_file(tmp_path / "a" / "b.txt")
    assert not list(tmp_path.iterdir())
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a folder"):
        check_folder(tmp_path / "gone" / "x")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    place = tmp_path / "full"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"NOT TESTED on a full disk: a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_at_the_start_is_one_line_and_leaves_nothing(
    full_disk: Path, config_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code that runs is frozen first, and is larger."""
    said = _refused_with_output(["run", config_path, f"runs={full_disk}"], capsys)
    assert "no space left on device" in said and "Free some space there" in said
    assert not list(full_disk.rglob("*"))


def _refused_with_output(words: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) < 600, said
    return said


def test_whoever_freezes_the_code_second_leaves_the_first(config_path: Path) -> None:
    run = RunFolder.of(load_campaign(config_path))
    run.freeze_code()
    before = (run.code / "frozen.json").read_bytes()
    shutil.rmtree(run.code / "shards")
    run.freeze_code()
    assert (run.code / "frozen.json").read_bytes() == before and [path.name for path in run.path.iterdir()] == ["code"]
    assert (run.code / "launch" / "cli.py").is_file() and not list(run.code.rglob("__pycache__"))


def _tiles(folder: Path) -> TilesConfig:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for tile in "ab":
        picture = np.random.default_rng(ord(tile)).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"images/{tile}.png")
        Image.fromarray(np.ones((64, 64), np.uint8)).save(folder / f"masks/{tile}.png")
    given = {"images": "images/{name}.png", "masks": "masks/{name}.png", "patient": "{name}"}
    return TilesConfig(folder=folder, table="", mpp=1.0, classes={"1": "Tumor"}, **given)


def _import(config: TilesConfig, folder: Path) -> list[object]:
    path = folder / "tiles.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return ["shards", "import", config.folder, path, "--out", folder / "out"]


def test_a_tile_that_is_cut_off_names_file_and_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _tiles(tmp_path / "tiles")
    path = tmp_path / "tiles" / "images" / "b.png"
    path.write_bytes(path.read_bytes()[:-200])
    said = _import(config, tmp_path)
    assert main([str(word) for word in said]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "images/b.png: the tile" in error and "units are not done" not in error


def test_hidden_files_beside_tiles_are_no_tiles(tmp_path: Path) -> None:
    config = _tiles(tmp_path / "tiles")
    (tmp_path / "tiles" / "images" / "._a.png").write_bytes(b"\x00\x05\x16\x07")
    assert sorted(unit.name for unit in tiles.units(config)) == ["a", "b"]
    tiles.check(config)


def test_two_tiles_of_one_stem_are_both_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _tiles(tmp_path / "tiles")
    (tmp_path / "tiles" / "t.csv").write_text("image,name\nimages/a.png,a\nimages/sub/a.png,b\n")
    (tmp_path / "tiles" / "images" / "sub").mkdir()
    shutil.copy(tmp_path / "tiles/images/a.png", tmp_path / "tiles/images/sub/a.png")
    config = config.model_copy(update={"table": "t.csv", "images": "{image}"})
    error = _refused(_import(config, tmp_path), capsys)
    assert "two tiles are named 'a'" in error and "images/a.png and " in error and "images/sub/a.png" in error


def test_what_a_decoder_says_of_a_tile_is_the_tiles_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kind of error it raises; a disk that cannot be read is not."""
    for error, kind in (
        (SyntaxError("broken chunk"), UserError),
        (OSError("truncated"), UserError),
        (OSError(5, "I/O"), OSError),
    ):

        def read(path: Path, error: Exception = error) -> np.ndarray:
            raise error

        with pytest.raises(kind) as caught:
            tiles._pixels(read, "a.png")
        assert (for_a_person(caught.value) is not None) == (kind is UserError)


def test_an_alert_says_what_to_do() -> None:
    from launch.alerts.notices import asked_for

    class Config:
        name = "c"

    text = asked_for(Config(), "phase base failed 3 times; at last: no space", time.time()).text  # type: ignore[arg-type]
    assert (
        "phase base failed 3 times" in text
        and "Correct the cause, then continue" in text
        and "mlseg retry RUN PHASE" in text
    )
