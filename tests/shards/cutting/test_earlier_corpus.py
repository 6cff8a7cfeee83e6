"""A corpus that recipe 5 cut stays as it is: it opens, `build` adds nothing, and `regenerate` names what it would cut again.

corpus_of_recipe_5.tar.xz was made at commit 37b9573 by `shards build` from the three slides that lie in it.
"""

import json
import os
import tarfile

import pytest

from launch.cli import main
from mlseg_core.files import sha256_file
from tests.shards.slides_for_tests import ROOT

ARCHIVE = ROOT / "tests/shards/cutting/corpus_of_recipe_5.tar.xz"


@pytest.fixture
def corpus(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "recipe-5"


def words(corpus):
    return [f"{corpus}/shards.yaml", "--slides", f"{corpus}/slides/slides.csv", "--out", f"{corpus}/shards"]


def published(corpus):
    files = [*(corpus / "shards").glob("*.*"), *(corpus / "shards").glob("*/*.*")]
    return {path.name: sha256_file(path) for path in files if path.name != "slide-identities.json"}


def dry_run(corpus, capsys):
    capsys.readouterr()
    assert main(["shards", "regenerate", *words(corpus), "--dry-run", "--json"]) == 0
    return {entry["slide"]: (entry["action"], entry["why"]) for entry in json.loads(capsys.readouterr().out)}


def test_build_cuts_nothing_again_and_says_what_was_corrected_since(corpus, capsys):
    before = published(corpus)
    assert main(["shards", "verify", f"{corpus}/shards"]) == 0
    capsys.readouterr()
    assert main(["shards", "build", *words(corpus)]) == 0
    said = capsys.readouterr()
    after = published(corpus)
    assert {name: after[name] for name in before} == before, "tars, records and the manifest are the same bytes"
    assert not [name for name in after.keys() - before.keys() if not name.startswith("done-")]
    assert "1 slide stays as an earlier version cut it" in said.err and "s1: edits of its class map" in said.err
    assert main(["shards", "verify", f"{corpus}/shards"]) == 0


def test_regenerate_names_the_slide_and_the_reason_and_then_cuts_it_alone(corpus, capsys):
    before = published(corpus)
    found = dry_run(corpus, capsys)
    assert found["s0"][0] == found["u1_2_7e6d62"][0] == "keep", "also under the slug that recipe 5 gave u1.2.7"
    assert found["s1"][0] == "cut" and "mask_classes" in found["s1"][1]
    assert published(corpus) == before
    assert main(["shards", "regenerate", *words(corpus)]) == 0
    after = published(corpus)
    new = {name for name in after if name.endswith(".tar")} - set(before)
    assert len(new) == 1 and new.pop().startswith("s1-")
    assert set(entry[0] for entry in dry_run(corpus, capsys).values()) == {"keep"}
    assert main(["shards", "verify", f"{corpus}/shards"]) == 0


def test_what_the_user_changes_is_cut_again_for_that_reason_alone(corpus, capsys):
    table = corpus / "slides/slides.csv"
    table.write_text(table.read_text().replace("P0,ER", "P0,PR"))
    assert dry_run(corpus, capsys)["s0"] == ("cut", "its row in the slide table changed")
    table.write_text(table.read_text().replace("P2,ER", "P2,PR"))
    found = dry_run(corpus, capsys)
    assert found["u1_2_7_c254e5"] == (
        "cut",
        "it, or what decides its samples, changed since it was cut as u1_2_7e6d62",
    )
    assert found["u1_2_7e6d62"] == ("drop", "its slide is called u1_2_7_c254e5 now")
    slide = corpus / "slides/u1.2.7"
    data = bytearray(slide.read_bytes())
    data[-1] ^= 1
    slide.write_bytes(data)
    assert dry_run(corpus, capsys)["u1_2_7e6d62"][0] == "drop", "what is cut today has today's slug"
    assert dry_run(corpus, capsys)["u1_2_7_c254e5"] == ("cut", "it is not cut yet")


def test_a_change_that_the_windows_of_recipe_5_miss_is_seen_once_the_slide_is_known(corpus, capsys):
    slide = corpus / "slides/s0.tif"
    padded = slide.read_bytes() + os.urandom(12 << 20)  # what follows a TIFF's pages is read by nobody
    slide.write_bytes(padded)
    assert main(["shards", "regenerate", *words(corpus)]) == 0
    assert main(["shards", "build", *words(corpus)]) == 0
    changed = bytearray(padded)
    middle = 7146 + (6 << 20)
    changed[middle : middle + 1_500_000] = bytes(1_500_000)
    slide.write_bytes(changed)
    assert dry_run(corpus, capsys)["s0"] == ("cut", "the slide file changed")
