"""mlseg shards verify: JSON, manifest, indices, files beside the shards, and the command."""

import argparse
import io
import json
import shutil
import tarfile
from collections import Counter

import numpy as np
import pytest

from launch.commands import shards_look
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from shards.manifest import read_manifest
from shards.sample import encode_json
from shards.tar import END_MARK, NAME, Place
from shards.verify.corpus import verify_corpus
from tests.shards.tars import index_of, replace_index, write_loosely
from tests.shards.verify.damage import agree, edit_manifest, entries, found, read_samples, rewrite


@pytest.mark.parametrize(
    "change",
    [
        {"split": "test"},
        {"patient": "P9"},
        {"slug": "s9"},
        {"slide": "other.tif"},
        {"score": 6.0},
        {"high_mpp": 1.0},
        {"low_mpp": None},
        {"center": [1.0, 2.0]},
        {"center": "here"},
        {"mpp0": [0, 0]},
        {"version": 2},
    ],
)
def test_json_that_contradicts_the_manifest_is_found(corpus, change):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    samples[1][1]["json"] = encode_json(json.loads(samples[1][1]["json"]) | change)
    rewrite(corpus, name, samples)
    texts = found(corpus)
    assert len(texts) == 1 and texts[0].startswith(f"{name} {samples[1][0]}: json ") and next(iter(change)) in texts[0]


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff\xfe", b'{"version": 1}', b"[" * 100_000])
def test_json_that_is_none_is_found(corpus, text):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    samples[1][1]["json"] = text
    write_loosely(corpus / name, samples)
    assert any(t.startswith(f"{name} {samples[1][0]}: json ") for t in found(corpus))


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda t: t["shards"][0].update(samples=3), "samples, the manifest says 3"),
        (lambda t: t["shards"][0]["seeds"].update(tumour=99), "seeds of tumour, the manifest says 99"),
        (lambda t: t["shards"][0]["pixels"].update(stroma=1), "px of stroma, the manifest says 1"),
        (lambda t: t["shards"][0]["pixels"].update(moon=1), "px of moon, which is not a class"),
        (lambda t: t["shards"][0].update(bytes=7), "bytes, the manifest says 7"),
        (lambda t: t["shards"][0].update(sha256="0" * 64), "its sha256 differs"),
        (lambda t: t["totals"].update(samples=1), "totals say 1 samples"),
        (lambda t: t["totals"].update(shards=1), "totals say 1 shards"),
        (lambda t: t["shards"][0].update(split="val"), "is of split val, its slide of train"),
        (lambda t: t["shards"][0].update(split="moon"), "which does not exist"),
        (lambda t: t["shards"][0].update(slide="s9"), "which has no row"),
        (lambda t: t["shards"][0].update(name="../x.tar"), "leads out of the folder"),
        (lambda t: t["shards"].append(t["shards"][0]), "2 times"),
        (lambda t: t["slides"].append(t["slides"][0]), "lists slide s0 2 times"),
        (lambda t: t["slides"][0]["inside"]["high"].__setitem__(2, 7), "another part of the views lies on the slide"),
        (lambda t: t["slides"][1].update(patient="P0"), "patient 'P0' is in two splits, train and val"),
        (lambda t: t["views"].pop("store_px"), "nothing below it can be checked"),
        (lambda t: t["views"].update(store_px=0), "nothing below it can be checked"),
        (lambda t: t.pop("totals"), "'totals' is missing"),
        (lambda t: t["facts"].pop("seeds"), "names no file of seeds"),
        (lambda t: t.update(version=1), "no index inside them (version 1)"),
    ],
)
def test_an_edited_manifest_is_found(corpus, edit, what):
    edit_manifest(corpus, edit)
    assert any(what in text for text in found(corpus))


def test_a_manifest_that_is_no_json_is_damage_and_a_missing_one_a_mistake(corpus, tmp_path):
    (corpus / "manifest.json").write_text("{")
    assert [text.startswith("manifest.json: not valid JSON") for text in found(corpus)] == [True]
    with pytest.raises(UserError, match="no manifest"):
        verify_corpus(tmp_path, 1)


def test_a_missing_tar_is_found(corpus):
    name = entries(corpus)[2]["name"]
    (corpus / name).unlink()
    assert found(corpus) == [f"{name}: is missing"]


def test_a_missing_text_index_is_found(corpus):
    path = corpus / entries(corpus)[2]["name"]
    path.with_suffix(".idx").unlink()
    assert found(corpus) == [f"{path.stem}.idx: is missing"]


@pytest.mark.parametrize("column", ["offset", "size", "crc32c", "key", "a row more", "a row less"])
def test_a_tampered_index_is_found(corpus, column):
    """Also when the manifest was made to agree with it."""
    path = corpus / entries(corpus)[0]["name"]
    index = index_of(path)
    if column == "key":
        index[3]["key"] = b"s0+y0000000+x0000000"
    elif column.startswith("a row"):
        index = index[:-1] if column == "a row less" else np.append(index, index[-1:])
    else:
        index[3][column][1] += 1
    replace_index(path, index)
    assert f"{path.name}: its index is not the manifest's: its sha256 differs" in found(corpus)
    agree(corpus, path.name)
    texts = found(corpus)
    assert texts and all(text.startswith(path.name) and "sha256" not in text for text in texts)
    key = "" if column == "a row more" else read_samples(path)[-1 if column == "a row less" else 3][0]
    assert any(text.startswith(f"{path.name} {key}".strip()) and "index" in text for text in texts)


@pytest.mark.parametrize("back", [1024 + 4, 1024 + 30, 1024 + 52, "padding", "npy"])
def test_a_changed_byte_of_an_index_is_found_also_when_the_manifest_agrees(corpus, back):
    path = corpus / entries(corpus)[0]["name"]
    data = bytearray(path.read_bytes())
    with open(path, "rb") as file:
        place = Place.find(file.fileno())
    npy_end = place.first + place.rows * place.row_bytes
    at = {"padding": npy_end + 1, "npy": npy_end - 1}.get(back) or len(data) - back
    assert place.start < at < len(data) - len(END_MARK)
    data[at] ^= 1
    path.write_bytes(data)
    agree(corpus, path.name)
    said = {"padding": "its index is not the one that its samples give", 1024 + 52: "has no index at its end"}
    (text,) = found(corpus)
    assert text.startswith(f"{path.name}: {said.get(back, 'has a damaged index')}")


def test_a_sample_and_an_index_that_follow_the_index_are_found(corpus, tmp_path):
    path = corpus / entries(corpus)[0]["name"]
    last = read_samples(path)[-1:]
    write_loosely(tmp_path / "more.tar", last)
    path.write_bytes(path.read_bytes()[: -len(END_MARK)] + (tmp_path / "more.tar").read_bytes())
    agree(corpus, path.name)
    texts = found(corpus)
    for name in (last[0][0], NAME):
        assert f"{path.name} {name}: comes after the index" in texts


def test_a_tampered_text_index_is_found(corpus):
    path = corpus / entries(corpus)[0]["name"]
    text = path.with_suffix(".idx")
    text.write_text(text.read_text().replace("high.jpg 512 ", "high.jpg 513 "))
    assert found(corpus) == [f"{text.name}: does not say what the tar holds"]


def test_stray_files_are_warnings(corpus):
    stray = corpus / "old-00000000-000.tar"
    shutil.copy(corpus / entries(corpus)[0]["name"], stray)
    (corpus / ".tmp-12-0a0b0c0d-s0.tar").write_bytes(b"x")
    report = verify_corpus(corpus, 1)
    assert report.ok
    assert Counter(finding.shard for finding in report.warnings) == {stray.name: 1, ".tmp-12-0a0b0c0d-s0.tar": 1}


def test_links_and_folders_in_a_tar_are_found(corpus):
    path = corpus / entries(corpus)[0]["name"]
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("s0+y0000000+x0000000.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link, io.BytesIO())
    assert any("is no regular file" in text for text in found(corpus))


def test_a_header_that_claims_terabytes_is_not_believed(corpus):
    path = corpus / entries(corpus)[0]["name"]
    huge = tarfile.TarInfo("s0+y0000000+x0000000.json")
    huge.size = 1 << 40
    path.write_bytes(huge.tobuf(tarfile.GNU_FORMAT) + path.read_bytes())
    assert f"{path.name}: no tar header at byte 0" in found(corpus)


@pytest.mark.parametrize("suffix", [".json", ".thumb.jpg", ".tissue.png"])
def test_an_overview_that_cannot_be_shown_is_found(corpus, suffix):
    row = read_manifest(corpus / "manifest.json").slides[1]
    (corpus / row.overview).with_suffix(suffix).write_bytes(b"x")
    (text,) = found(corpus)
    assert text.startswith(f"{row.overview}: cannot be shown")


def test_quarantine_that_the_manifest_does_not_know_is_a_warning_and_samples_of_it_are_damage(corpus):
    with (corpus / "quarantine.csv").open("a") as file:
        file.write("s9.tif,s9,why,\n")
    report = verify_corpus(corpus, 1)
    assert report.ok and [finding.shard for finding in report.warnings] == ["quarantine.csv"]
    edit_manifest(corpus, lambda tree: tree["slides"][0].update(quarantined="pen"))
    assert any("which is in quarantine" in text for text in found(corpus))


@pytest.mark.parametrize("damaged", [False, True])
def test_the_command(corpus, capsys, damaged):
    if damaged:
        (corpus / entries(corpus)[0]["name"]).unlink()
    parser = argparse.ArgumentParser()
    shards_look.add(parser.add_subparsers())
    status = EXIT_FAILED if damaged else EXIT_DONE
    arguments = parser.parse_args(["verify", str(corpus), "--workers", "1"])
    assert arguments.run(arguments) == status
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + damaged and ("DAMAGED" if damaged else "sound") in lines[-1]
    arguments = parser.parse_args(["verify", str(corpus), "--json", "--workers", "1"])
    assert arguments.run(arguments) == status
    tree = json.loads(capsys.readouterr().out)
    assert tree["ok"] is not damaged and set(tree) == {"ok", "damage", "warnings", "shards", "samples", "bytes"}
    name = entries(corpus)[0]["name"]
    assert tree["damage"] == ([{"shard": name, "key": "", "what": "is missing"}] if damaged else [])
