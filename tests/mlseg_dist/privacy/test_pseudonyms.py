"""The key to the pseudonyms: private, never renumbered, agreed upon by processes that do not know of each other."""

import csv
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_dist.config import TrackingConfig
from mlseg_dist.privacy.pseudonyms import PICTURE_MARK, Named, Pseudonyms
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.rounds import _sheet

SLUGS = [f"Mustermann_{n:03d}" for n in range(200)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_name_has_one_pseudonym_and_the_way_back(tmp_path):
    names = Pseudonyms(tmp_path)
    names.admit(SLUGS, ["Erika Mustermann", 'a "quoted", name', "two\nlines", "Jürgen Groß"])
    given = {names.slide(slug) for slug in SLUGS}
    assert given == {f"slide-{n:04d}" for n in range(1, 201)}
    again = Pseudonyms(tmp_path)
    for slug in SLUGS:
        assert again.original(names.slide(slug)) == Named("slide", slug, names.slide(slug))
    for patient in ("Erika Mustermann", 'a "quoted", name', "two\nlines", "Jürgen Groß"):
        assert again.original(names.patient(patient)).name == patient
    assert again.key(f"{SLUGS[3]}+y0001000+x0002000") == f"{names.slide(SLUGS[3])}+y0001000+x0002000"
    assert len(again.all()) == 204 and again.all() == names.all()
    with (tmp_path / "private" / "names.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["kind", "name", "pseudonym"]
    with pytest.raises(UserError, match="slide-0999"):
        again.original("slide-0999")


def test_numbers_say_nothing_about_names_or_their_order(tmp_path):
    """200 names in order: a numbering that follows them would give a rank correlation of 1; by lot it is within .3 of 0."""
    numbers = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        names = Pseudonyms(tmp_path / run)
        names.admit(SLUGS)
        numbers.append([int(names.slide(slug).rpartition("-")[2]) for slug in SLUGS])
        spread = sum((place - number) ** 2 for place, number in enumerate(numbers[-1], start=1))
        assert abs(1 - 6 * spread / (200 * (200**2 - 1))) < 0.3
    assert numbers[0] != numbers[1]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_only_the_owner_may_read_the_key(tmp_path, mask):
    before = os.umask(mask)
    try:
        Pseudonyms(tmp_path).patient("Erika Mustermann")
    finally:
        os.umask(before)
    assert mode(tmp_path / "private") == 0o700
    assert [mode(path) for path in (tmp_path / "private").iterdir()] == [0o600]


def test_another_user_is_told_whom_to_ask():
    """In a folder that everybody may enter; the process gives up being root before it asks."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED with a second user: only root can be two users")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        Pseudonyms(Path(folder)).admit(SLUGS[:3])
        code = (
            "import os, sys; from pathlib import Path; from mlseg_dist.privacy.pseudonyms import Pseudonyms\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try: Pseudonyms(Path(sys.argv[1]))\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        ended = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("UserError ") and "only root may read the key" in ended.stdout
    assert "Ask root" in ended.stdout and ended.stdout.count("\n") == 1


def test_a_copy_that_others_may_read_is_closed_again(tmp_path):
    Pseudonyms(tmp_path).patient("Erika Mustermann")
    (tmp_path / "private" / "names.csv").chmod(0o644)
    Pseudonyms(tmp_path)
    assert mode(tmp_path / "private" / "names.csv") == 0o600


def test_slides_that_come_later_change_no_number(tmp_path):
    early = Pseudonyms(tmp_path)
    early.admit(SLUGS[100:])
    before = {slug: early.slide(slug) for slug in SLUGS[100:]}
    first = (tmp_path / "private" / "names.csv").read_bytes()
    late = Pseudonyms(tmp_path)
    late.admit(SLUGS)
    assert {slug: late.slide(slug) for slug in SLUGS[100:]} == before
    assert {late.slide(slug) for slug in SLUGS[:100]} == {f"slide-{n:04d}" for n in range(101, 201)}
    assert (tmp_path / "private" / "names.csv").read_bytes() == first
    assert early.slide(SLUGS[0]) == late.slide(SLUGS[0])  # a process that has not seen the second file


def test_processes_that_start_together_agree(tmp_path):
    """Eight of them, each with some slides of its own, released at once: one name a pseudonym, one pseudonym a name."""
    code = (
        "import sys; from pathlib import Path; from mlseg_dist.privacy.pseudonyms import Pseudonyms; n = int(sys.argv[2]);"
        "names = Pseudonyms(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.readline();"
        "slugs = [f's{i}' for i in range(10 * n, 10 * n + 30)]; names.admit(slugs, ['p']);"
        "print(*(f'{s} {names.slide(s)}' for s in slugs), sep='\\n')"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(n)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for n in range(8)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    given: dict[str, set[str]] = {}
    for process in started:
        for line in process.communicate(timeout=60)[0].splitlines():
            slug, pseudonym = line.split()
            given.setdefault(slug, set()).add(pseudonym)
        assert process.returncode == 0
    assert len(given) == 100 and all(len(found) == 1 for found in given.values())
    assert len(set.union(*given.values())) == 100
    assert not [path for path in (tmp_path / "private").iterdir() if path.name.startswith(".tmp-")]


def test_a_key_that_was_deleted_is_made_anew_and_said_so(tmp_path):
    told: list[str] = []
    Pseudonyms(tmp_path, told.append).admit(SLUGS)
    assert not told
    (tmp_path / "private" / "names.csv").unlink()
    Pseudonyms(tmp_path, told.append).admit(SLUGS)
    assert len(told) == 1 and "made anew" in told[0]
    assert len(Pseudonyms(tmp_path, told.append).all()) == 200 and len(told) == 1


def test_pages_of_earlier_versions_are_named_when_the_key_is_made(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("real names")
    told: list[str] = []
    Pseudonyms(tmp_path, told.append).admit(SLUGS)
    assert len(told) == 1 and "real names" in told[0]


def test_a_sheet_with_names_in_its_pixels_stays_out_of_the_report(tmp_path):
    """As earlier versions drew them; where it lies is said."""
    entry = {"round": 1, "folder": tmp_path / "labels-1", "sheet": "contact-sheet.jpg"}
    path = entry["folder"] / entry["sheet"]
    path.parent.mkdir()
    for options, is_shown in (({}, False), ({"comment": PICTURE_MARK}, True)):
        Image.new("RGB", (64, 64)).save(path, "JPEG", **options)
        shown = str(_sheet(entry, Pictures(inside=True)))
        assert ("data:image/jpeg" in shown) == is_shown
        assert ("data/labels-1/contact-sheet.jpg" in shown) != is_shown


def test_a_config_of_an_earlier_version_is_written_as_it_was():
    """The frozen code of earlier runs reads it, and does not know `images`."""
    assert validate({"media": 2}, TrackingConfig, "test").model_dump(mode="json") == {
        "enabled": True,
        "project": "mlseg",
        "mode": "auto",
        "media": 2,
    }
    assert validate({"images": True}, TrackingConfig, "test").model_dump(mode="json")["images"] is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name,age\nErika,65\n",
        "kind,name,pseudonym\nslide,a\n",
        "kind,name,pseudonym\nslide,a,patient-0001\n",
        "kind,name,pseudonym\nslide,a,slide-0001\nslide,b,slide-0001\n",
    ],
)
def test_a_damaged_key_is_one_clear_line_and_stays(tmp_path, text):
    (tmp_path / "private").mkdir()
    path = tmp_path / "private" / "names.csv"
    path.write_text(text)
    with pytest.raises(UserError, match="Restore it"):
        Pseudonyms(tmp_path)
    assert path.read_text() == text
