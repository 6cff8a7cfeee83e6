"""A patient's name is planted in the slide table, in file names and in errors: nothing that leaves the run folder has it.

One campaign of one step runs for real, with W&B offline. Searched are all bytes of the report and of W&B's folders, and what is
encoded or compressed in them. The terminal, logs and other files of the run folder may have the name (docs/privacy.md).
"""

import base64
import io
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from launch.cli import main
from launch.run_folder import RunFolder
from launch.run_folder.own_files import own_files
from mlseg_core.files import read_json, write_json
from mlseg_dist.events import Events
from mlseg_dist.run_folder import phase_folder
from tests.launch.conftest import tiny_campaign
from tests.launch.local.test_run import mlseg
from tests.mlseg_dist import wandb_files
from tests.shards.slides_for_tests import write_corpus

NAMES = ("Mustermann_Erika_1961", "Mustermann_Max_1962", "Mustermann_Eva_1963")
PLANTED = re.compile(rb"mustermann|erika|m\0u\0s\0t\0e\0r", re.IGNORECASE)
DATA_URI = re.compile(rb"data:([a-z/+]+);base64,([A-Za-z0-9+/=]+)")


def plant(folder: Path) -> Path:
    """A slide table whose every slide names its patient, in a folder that does so too."""
    table = write_corpus(folder / "slides")
    inner = table.parent / "Mustermann Erika (1961)"
    inner.mkdir()
    text = table.read_text()
    for number, name in enumerate(NAMES):
        for ending in ("tif", "geojson"):
            (table.parent / f"s{number}.{ending}").rename(inner / f"{name}.{ending}")
            text = text.replace(f"s{number}.{ending}", f"{inner.name}/{name}.{ending}")
        text = text.replace(f",P{number},", f",{name.split('_')[1]} Mustermann,")
    table.write_text(text)
    return table


def campaign(folder: Path) -> Path:
    path = tiny_campaign(folder, tracking={"mode": "offline", "images": True})
    raw = yaml.safe_load(path.read_text())
    del raw["phantom"]
    raw["steps"] = raw["steps"][:1]
    raw["train"] |= {"engine": "ddp", "epoch_draws": 16}
    raw["cluster"] = {"executor": "local", "train": {"setup": ["export PATIENT=Mustermann"]}}
    path.write_text(yaml.safe_dump({**raw, "slides": str(plant(folder))}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The finished run folder. Afterwards an error named a slide, a job failed at one, and W&B was told of both."""
    config = campaign(tmp_path_factory.mktemp("private"))
    ended = mlseg("run", config)
    assert ended.returncode == 0, ended.stderr
    run = config.parent / "runs" / "tiny"
    slide = f"{config.parent}/slides/Mustermann Erika (1961)/{NAMES[0]}.tif"
    Events(phase_folder(run, "base")).log(
        "excluded", f"{NAMES[1]}-0000.tar: crc32c of {NAMES[1]}+y1+x2 ({slide})", "error"
    )
    state = phase_folder(run, "shards") / "state.json"
    write_json(
        state, {**read_json(state), "status": "failed", "error": f"UserError: {slide}: patient Erika Mustermann"}
    )
    assert main(["wandb-follow", str(run), "--offline", "--once"]) == 0
    return run


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """(where, bytes): a file's name and content, and the pictures that a page holds, with what is compressed in them."""
    data = path.read_bytes()
    yield path.name, path.name.encode()
    yield path.name, data
    yield from in_picture(path.name, data)
    for number, (kind, text) in enumerate(DATA_URI.findall(data)):
        inner = base64.b64decode(text)
        yield f"{path.name}, {kind.decode()} {number}", inner
        yield from in_picture(f"{path.name}, {kind.decode()} {number}", inner)


def in_picture(where: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            yield f"{where}, metadata", repr((image.info, dict(image.getexif()))).encode()


def found_in(paths: list[Path]) -> list[str]:
    return [f"{where}: {data[max(0, m.start() - 80) : m.end() + 40]!r}" for path in paths for where, data in contents(path)
            if (m := PLANTED.search(data))]  # fmt: skip


def test_the_search_finds_what_is_planted(run, tmp_path):
    """In plain text, in a picture's metadata, in a picture within a page."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "JPEG", comment=b"slide of Erika")
    page = b"<img src='data:image/jpeg;base64," + base64.b64encode(data.getvalue()) + b"'>"
    for name, content in (("a.html", b"MUSTERMANN"), ("b.jpg", data.getvalue()), ("c.html", page), ("erika.txt", b"")):
        (tmp_path / name).write_bytes(content)
        assert found_in([tmp_path / name]), name
    assert found_in([run / "data" / "shards" / "manifest.json"]), "inside the run folder names may stay"


def test_no_name_in_the_report(run):
    files = [path for path in (run / "report").rglob("*") if path.is_file()]
    assert {"index.html", "metrics.json", "checks.json"} <= {path.name for path in files}
    assert not found_in(files)
    page = (run / "report" / "index.html").read_text()
    assert str(run.parent) not in page and "export PATIENT" not in page
    assert re.search(r"slide-000[1-3]\b", page), "slides are shown, by their pseudonyms"


def test_no_name_in_what_wandb_gets(run):
    """Its binary files are read by W&B's own reader as well."""
    phases = [path.parent for path in (run / "phases").glob("*/wandb")]
    assert {"base", "evaluate", "shards"} <= {phase.name.partition("-")[2] for phase in phases}
    texts, said = [], []
    for phase in phases:
        found = wandb_files.records(phase)
        said += wandb_files.alerts(found)
        texts += [json.dumps(record, ensure_ascii=False) for record in found]
        files = [path for path in wandb_files.segments(phase)[0].rglob("*") if path.is_file()]
        assert not found_in(files)
    assert not [text for text in texts if PLANTED.search(text.encode())]
    assert not [text for text in texts if f"{run.parent}/" in text], "no path of this machine"
    alerts = {alert["title"].partition(": ")[2]: alert["text"] for alert in said}
    assert re.match(
        r"slide-000\d-0000.tar: crc32c of slide-000\d\\\+y1\\\+x2 \\\(slide-000\d\\\)", alerts["pairs are excluded"]
    )
    assert re.match(r"UserError: slide-000\d: patient patient-000\d ", alerts["job failed"])
    captions = [text for text in texts if '"examples.captions"' in text]
    assert captions and all(re.search(r"slide-000\d\+y\d+", text) for text in captions)


def test_the_key_leads_back_and_is_the_owner_s_alone(run, capsys):
    key = run / "private" / "names.csv"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert main(["names", str(run), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    slides = {row["name"]: row for row in rows if row["kind"] == "slide"}
    assert slides.keys() == set(NAMES)
    assert slides[NAMES[0]]["file"] == f"{NAMES[0]}.tif" and slides[NAMES[0]]["patient"] == "Erika Mustermann"
    assert main(["names", str(run), slides[NAMES[2]]["pseudonym"]]) == 0
    assert NAMES[2] in capsys.readouterr().out
    assert main(["names", str(run), "slide-0099"]) == 2
    assert "slide-0099" in capsys.readouterr().err


def test_the_key_counts_as_ours_and_is_never_cleaned(run, capsys):
    assert own_files(run / "private", "private").keys() == {"names.csv"}
    (run / "private" / "notes.txt").write_text("a person's")
    try:
        assert own_files(run / "private", "private").keys() == {"names.csv"}
    finally:
        (run / "private" / "notes.txt").unlink()
    assert main(["clean", str(run), "--rounds", "--styled", "--aside"]) == 0
    assert (run / "private" / "names.csv").exists() and RunFolder(run).exists()


def test_a_report_made_again_shows_the_same_pseudonyms(run, capsys):
    page, key = run / "report" / "index.html", run / "private" / "names.csv"
    before, names = page.read_text(), key.read_bytes()
    assert main(["report", str(run)]) == 0 and "warning" not in capsys.readouterr().err
    shown = [re.findall(r"(?:slide|patient)-\d{4}", text) for text in (before, page.read_text())]
    assert shown[0] == shown[1] != [] and key.read_bytes() == names
