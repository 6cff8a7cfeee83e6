"""What lies in RUN/report: all of ours is known as ours, nothing of somebody else's is written over, no write is half done."""

from pathlib import Path

import pytest

from launch.run_folder.own_files import own_files
from mlseg_core.errors import UserError
from mlseg_core.files import temporary_beside
from mlseg_dist import report
from tests.mlseg_dist.report.campaign import Reported, made_run
from tests.planted import lost, plant


@pytest.fixture
def run(tmp_path) -> Reported:
    made = made_run(tmp_path, is_bare=True)
    write(made)
    return made


def write(run: Reported) -> Path:
    return report.write(run.config, run.path, run.path / "phases" / "10-report")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_all_that_is_written_is_known_as_ours_and_nothing_else(run):
    folder = run.path / "report"
    ours = contents(folder)
    planted = plant(folder, folder / "pictures")
    changed = next((folder / "pictures").glob("*.jpg"))
    killed = temporary_beside(folder / "pictures" / "a.jpg")
    killed.touch()
    found = own_files(folder, "report")
    assert set(found) == {*ours, str(killed.relative_to(folder))} and len(ours) == 13
    kept = changed.read_bytes()
    changed.write_bytes(kept + b"a remark")
    assert str(changed.relative_to(folder)) not in own_files(folder, "report"), "a picture that somebody changed"
    with pytest.raises(UserError, match="would be overwritten"):
        write(run)
    changed.unlink()
    write(run)
    assert changed.read_bytes() == kept and lost(planted, folder, folder / "pictures") == []


@pytest.mark.parametrize("name", ["index.html", "slides.csv", "metrics.json", "pictures"])
def test_nothing_is_written_where_somebodys_file_is_in_the_way(run, name):
    place = run.path / "report" / name
    if place.is_dir():
        place.rename(run.path / "elsewhere")
        place.symlink_to(run.path / "elsewhere")
    else:
        place.write_text("mine,1\n")
    before = contents(run.path / "report")
    with pytest.raises(UserError) as said:
        write(run)
    assert str(place) in str(said.value) and contents(run.path / "report") == before


def test_a_picture_that_is_missing_or_no_picture_is_left_out(run):
    drawn = sorted((run.evaluate / "pictures").glob("*.png"))
    drawn[0].unlink()
    drawn[1].write_bytes(b"no picture")
    write(run)
    assert len(list((run.path / "report" / "pictures").iterdir())) == 7
