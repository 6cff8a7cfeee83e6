"""mlseg shards verify: a sound corpus passes, and every kind of damage is found and named."""

import argparse
import io
import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from launch.commands import shards_look
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.files import sha256_file
from mlseg_core.map import map_in_processes
from mlseg_dist.data.labels import LEVELS, decode, encode
from shards import build
from shards.manifest import read_manifest
from shards.sample import MEMBERS, encode_json, encode_png
from shards.tar import NO_SEED, index_path, index_shard, save_index, wds2idx_text, write_shard
from shards.verify import sample
from shards.verify.corpus import verify_corpus
from tests.shards.slides_for_tests import shards_config, write_corpus

CONFIG = shards_config(tissue_stride_um=192.0, samples_per_shard=15)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    table = write_corpus(folder / "slides")
    todo = build.units(CONFIG, table)
    map_in_processes(todo, build.cut, folder / "shards", 1, describe=build.describe)
    build.write_manifest(CONFIG, table, todo, folder / "shards")
    return folder / "shards"


@pytest.fixture
def corpus(sound, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(sound, tmp_path / "shards"))


def found(folder: Path) -> list[str]:
    return [str(finding) for finding in verify_corpus(folder, 1).damage]


def entries(folder: Path) -> list[dict]:
    return json.loads((folder / "manifest.json").read_text())["shards"]


def edit_manifest(folder: Path, edit) -> None:
    tree = json.loads((folder / "manifest.json").read_text())
    edit(tree)
    (folder / "manifest.json").write_text(json.dumps(tree))


def read_samples(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            key, _, member = entry.name.partition(".")
            samples.setdefault(key, {})[member] = tar.extractfile(entry).read()
    return list(samples.items())


def rewrite(folder: Path, name: str, samples: list, members: tuple[str, ...] = MEMBERS) -> None:
    """Write other samples and make every hash, index and size of the manifest agree: damage from before hashing."""
    path = folder / name
    write_shard(path, samples)

    def agree(tree):
        entry = next(e for e in tree["shards"] if e["name"] == name)
        try:
            index = index_shard(path, members)
        except Exception:
            pass  # no index can be made of such a tar; the old one stays
        else:
            seeds = {key: json.loads(parts["json"])["seed_class"] for key, parts in samples}
            for row in index:
                seed = seeds[row["key"].decode()]
                row["seed"] = NO_SEED if seed is None else tree["classes"].index(seed)
            entry["index_sha256"] = save_index(index_path(path), index)
            path.with_suffix(".idx").write_text(wds2idx_text(index, members))
        entry |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        tree["totals"]["bytes"] = sum(e["bytes"] for e in tree["shards"])

    edit_manifest(folder, agree)


def test_a_sound_corpus_is_sound_on_one_process_or_two(sound):
    one, two = verify_corpus(sound, 1), verify_corpus(sound, 2)
    manifest = read_manifest(sound / "manifest.json")
    assert one.as_json() == two.as_json()
    assert (one.damage, one.warnings) == ([], [])
    assert {"shards": one.shards, "samples": one.samples, "bytes": one.bytes} == manifest.totals
    assert one.samples > 50 and one.shards > 4


@pytest.mark.parametrize("member", MEMBERS)
def test_a_flipped_byte_in_any_member_is_found_and_named(corpus, member):
    path = corpus / entries(corpus)[1]["name"]
    index = np.load(index_path(path))
    row, column = index[4], MEMBERS.index(member)
    data = bytearray(path.read_bytes())
    data[int(row["offset"][column]) + int(row["size"][column]) // 2] ^= 1
    path.write_bytes(data)
    report = verify_corpus(corpus, 1)
    assert {finding.shard for finding in report.damage} == {path.name}
    assert {finding.key for finding in report.damage} == {"", row["key"].decode()}
    texts = [str(finding) for finding in report.damage]
    assert f"{path.name}: is not the file of the manifest: its sha256 differs" in texts
    assert f"{path.name} {row['key'].decode()}: {member} is damaged: its crc32c is not that of the index" in texts


@pytest.mark.parametrize("place", ["header", "padding", "end"])
def test_a_flipped_byte_between_the_members_is_found(corpus, place):
    path = corpus / entries(corpus)[0]["name"]
    index = np.load(index_path(path))
    data = bytearray(path.read_bytes())
    offset, size = int(index[2]["offset"][1]), int(index[2]["size"][1])
    at = {"header": offset - 512 + 3, "padding": offset + size + (-size % 512) - 1, "end": len(data) - 1}[place]
    data[at] ^= 4
    path.write_bytes(data)
    texts = "\n".join(found(corpus))
    assert "its sha256 differs" in texts
    key = index[2]["key"].decode()
    expected = {
        "header": f"{path.name} {key}: high.png is missing",
        "padding": f"{path.name}: bytes between the members, after '{key}.high.png'",
        "end": f"{path.name}: more follows the tar's end mark",
    }
    assert expected[place] in texts


def test_all_damage_is_found_not_the_first(corpus):
    names = [entry["name"] for entry in entries(corpus)]
    keys = []
    for name in names[:3]:
        index = np.load(index_path(corpus / name))
        data = bytearray((corpus / name).read_bytes())
        for row in index[1:4]:
            data[int(row["offset"][2]) + 5] ^= 8
            keys.append((name, row["key"].decode()))
        (corpus / name).write_bytes(data)
    damaged = {(f.shard, f.key) for f in verify_corpus(corpus, 2).damage if f.key}
    assert damaged == set(keys)


@pytest.mark.parametrize("left", [0, 100, 512, 70_000, -512, -10_240])
def test_a_cut_off_tar_is_found(corpus, left):
    path = corpus / entries(corpus)[0]["name"]
    data = path.read_bytes()
    path.write_bytes(data[:left])
    texts = found(corpus)
    assert any(text.startswith(f"{path.name}: the tar is cut off") for text in texts) or left == -512
    assert any("bytes, the manifest says" in text for text in texts)
    assert any("its sha256 differs" in text for text in texts)


def test_a_cut_off_tar_whose_hashes_were_made_anew_is_found(corpus):
    """What a writer that died leaves when somebody indexes it afterwards."""
    name = entries(corpus)[0]["name"]
    path = corpus / name
    path.write_bytes(path.read_bytes()[:70_000])
    edit_manifest(corpus, lambda tree: tree["shards"][0].update(bytes=70_000, sha256=sha256_file(path)))
    assert any(text.startswith(f"{name}: the tar is cut off inside") for text in found(corpus))


def test_a_missing_member_is_found(corpus):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    del samples[3][1]["low.png"]
    rewrite(corpus, name, samples)
    assert f"{name} {samples[3][0]}: low.png is missing" in found(corpus)


def test_a_member_too_many_is_found(corpus):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    samples[3][1]["exe"] = b"x"
    rewrite(corpus, name, samples)
    assert f"{name} {samples[3][0]}: 'exe' is no member of these shards" in found(corpus)


@pytest.mark.parametrize("distance", [1, 4])
def test_a_duplicated_key_within_a_shard_is_found(corpus, distance):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    samples.insert(2 + distance, samples[2])
    rewrite(corpus, name, samples)
    assert any(text.startswith(f"{name} {samples[2][0]}: ") and "key appears twice" in text for text in found(corpus))


def test_a_duplicated_key_across_shards_is_found(corpus):
    first, second = (entry["name"] for entry in entries(corpus)[:2])
    own, other = read_samples(corpus / first), read_samples(corpus / second)
    rewrite(corpus, second, [own[-1], *other])
    edit_manifest(corpus, lambda tree: tree["shards"][1].update(samples=tree["shards"][1]["samples"] + 1))
    assert f"{second} {own[-1][0]}: the key is also in {first}" in found(corpus)


def test_a_sample_of_another_slide_is_found(corpus):
    listed = entries(corpus)
    mine, theirs = listed[0]["name"], next(e["name"] for e in listed if e["slide"] != listed[0]["slide"])
    samples, stranger = read_samples(corpus / mine), read_samples(corpus / theirs)[0]
    rewrite(corpus, mine, [*samples, stranger])
    assert f"{mine} {stranger[0]}: is a sample of another slide than {listed[0]['slide']}" in found(corpus)


def test_keys_out_of_order_are_found(corpus):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    samples[4], samples[5] = samples[5], samples[4]
    rewrite(corpus, name, samples)
    assert any(text.startswith(f"{name} {samples[5][0]}: comes after {samples[4][0]}") for text in found(corpus))


@pytest.mark.parametrize("member", ["high.png", "low.png"])
def test_a_label_value_that_is_no_class_is_found(corpus, member):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    label = cv2.imdecode(np.frombuffer(samples[5][1][member], np.uint8), cv2.IMREAD_GRAYSCALE)
    label[0, 0] = 200
    samples[5][1][member] = encode_png(label)
    rewrite(corpus, name, samples)
    assert f"{name} {samples[5][0]}: {member} has values that are no class: 200" in found(corpus)


def test_a_label_that_contradicts_the_seed_is_found(corpus):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    row = next(i for i, (_, parts) in enumerate(samples) if json.loads(parts["json"])["seed_class"] == "stroma")
    for member in ("high.png", "low.png"):
        samples[row][1][member] = encode_png(np.full((64, 64), 3, np.uint8))
    rewrite(corpus, name, samples)
    texts = found(corpus)
    assert f"{name} {samples[row][0]}: high.png is 3 at the seed, the JSON says stroma" in texts
    assert any("px of stroma, the manifest says" in text for text in texts)


@pytest.mark.parametrize("members", [("high.jpg",), ("low.jpg",), ("high.jpg", "high.png")])
def test_views_swapped_between_two_samples_are_found(corpus, members):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    here, there = samples[2][1], samples[-2][1]
    for member in members:
        here[member], there[member] = there[member], here[member]
    rewrite(corpus, name, samples)
    texts = found(corpus)
    for key in (samples[2][0], samples[-2][0]):
        assert f"{name} {key}: high.jpg shows other tissue than the centre of low.jpg" in texts


def test_high_and_low_swapped_in_one_sample_are_found(corpus):
    name = entries(corpus)[0]["name"]
    samples = read_samples(corpus / name)
    parts = samples[2][1]
    parts["high.jpg"], parts["low.jpg"] = parts["low.jpg"], parts["high.jpg"]
    rewrite(corpus, name, samples)
    assert f"{name} {samples[2][0]}: high.jpg shows other tissue than the centre of low.jpg" in found(corpus)


def flip(data: bytes) -> bytes:
    """A JPEG with a marker that is none in its scan: OpenCV decodes it without a word."""
    scan = data.index(b"\xff\xda") + 200
    broken = data[:scan] + b"\xff\xd3" + data[scan + 2 :]
    assert cv2.imdecode(np.frombuffer(broken, np.uint8), cv2.IMREAD_COLOR) is not None
    return broken


def shrunk(data: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", image[:32, :32])[1].tobytes()


def grey(data: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return cv2.imencode(".jpg", image)[1].tobytes()


def subsampled(data: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", image)[1].tobytes()


JPEG_DAMAGE = {
    "flip": (flip, ""),
    "cut": (lambda data: data[: len(data) // 2], "does not end"),
    "end": (lambda data: data[:-2], "does not end"),
    "empty": (lambda data: b"", ""),
    "text": (lambda data: b"<html>503 Service Unavailable</html>", ""),
    "size": (shrunk, "is 32 x 32 px, not 64 x 64"),
    "grey": (grey, "is Gray"),
    "chroma": (subsampled, "is YCbCr 420, not YCbCr 4:4:4"),
}


@pytest.mark.parametrize("damage", JPEG_DAMAGE)
@pytest.mark.parametrize("member", ["high.jpg", "low.jpg"])
def test_a_jpeg_damaged_before_it_was_hashed_is_found(corpus, damage, member):
    name = entries(corpus)[1]["name"]
    samples = read_samples(corpus / name)
    make, what = JPEG_DAMAGE[damage]
    samples[4][1][member] = make(samples[4][1][member])
    rewrite(corpus, name, samples)
    texts = found(corpus)
    assert len(texts) == 1 and texts[0].startswith(f"{name} {samples[4][0]}: {member} "), "nothing else disagrees"
    assert what in texts[0]


def colour_png(data: bytes) -> bytes:
    return cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()


def bad_crc(data: bytes) -> bytes:
    at = data.index(b"IDAT") + 8
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "make", [colour_png, bad_crc, lambda data: data[:-20], lambda data: encode_png(np.zeros((32, 64), np.uint8))]
)
def test_a_png_damaged_before_it_was_hashed_is_found(corpus, make):
    name = entries(corpus)[1]["name"]
    samples = read_samples(corpus / name)
    samples[4][1]["low.png"] = make(samples[4][1]["low.png"])
    rewrite(corpus, name, samples)
    texts = found(corpus)
    assert len(texts) == 1 and texts[0].startswith(f"{name} {samples[4][0]}: low.png ")


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
    write_shard(corpus / name, samples)
    assert any(t.startswith(f"{name} {samples[1][0]}: json ") for t in found(corpus))


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda t: t["shards"][0].update(samples=3), "samples, the manifest says 3"),
        (lambda t: t["shards"][0]["seeds"].update(tumour=99), "seeds of tumour, the manifest says 99"),
        (lambda t: t["shards"][0]["pixels"].update(stroma=1), "px of stroma, the manifest says 1"),
        (lambda t: t["shards"][0]["pixels"].update(moon=1), "px of moon, which is no class"),
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
        (lambda t: t["slides"][1].update(patient="P0"), "patient 'P0' is in two splits, train and val"),
        (lambda t: t["views"].pop("store_px"), "nothing below it can be checked"),
        (lambda t: t["views"].update(store_px=0), "nothing below it can be checked"),
        (lambda t: t.pop("totals"), "'totals' is missing"),
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


def test_a_missing_index_is_found(corpus):
    path = corpus / entries(corpus)[2]["name"]
    index_path(path).unlink()
    path.with_suffix(".idx").unlink()
    assert found(corpus) == [f"{index_path(path).name}: is missing", f"{path.stem}.idx: is missing"]


@pytest.mark.parametrize("column", ["offset", "size", "crc32c", "seed", "slide", "key"])
def test_a_tampered_index_is_found(corpus, column):
    """Also when the manifest was made to agree with it."""
    path = corpus / entries(corpus)[0]["name"]
    index = np.load(index_path(path))
    if column in ("slide", "key"):
        index[3][column] = b"s0+y0000000+x0000000" if column == "key" else b"s1"
    elif column == "seed":
        index[3]["seed"] = (int(index[3]["seed"]) + 1) % 17
    else:
        index[3][column][1] += 1
    digest = save_index(index_path(path), index)
    texts = found(corpus)
    assert f"{index_path(path).name}: is not the file of the manifest: its sha256 differs" in texts
    edit_manifest(corpus, lambda tree: tree["shards"][0].update(index_sha256=digest))
    texts = found(corpus)
    of_seeds = [text for text in texts if text.startswith("seeds-")]
    assert len(of_seeds) == (column == "seed")
    assert len(texts) > len(of_seeds) and all(text.split(".")[0] == path.stem for text in texts if text not in of_seeds)


@pytest.mark.parametrize("text", [b"", b"no index", b"\x93NUMPY\x01\x00"])
def test_an_index_that_is_none_is_found(corpus, text):
    path = corpus / entries(corpus)[0]["name"]
    index_path(path).write_bytes(text)
    assert any(line.startswith(f"{index_path(path).name}: cannot be read") for line in found(corpus))


def test_a_tampered_text_index_is_found(corpus):
    path = corpus / entries(corpus)[0]["name"]
    text = path.with_suffix(".idx")
    text.write_text(text.read_text().replace("high.jpg 512 ", "high.jpg 513 "))
    assert found(corpus) == [f"{text.name}: does not say what the tar holds"]


def test_stray_files_are_warnings(corpus):
    stray = corpus / "old-00000000-000.tar"
    shutil.copy(corpus / entries(corpus)[0]["name"], stray)
    (corpus / ".tmp-12-ab-s0.tar").write_bytes(b"x")
    report = verify_corpus(corpus, 1)
    assert report.ok
    assert Counter(finding.shard for finding in report.warnings) == {stray.name: 1, ".tmp-12-ab-s0.tar": 1}


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


LABEL_MEMBERS = ("high.png", "json", "low.png")


@pytest.fixture
def labels(corpus, tmp_path):
    """A round of labels for the train split of the corpus: half resolution, classes 0 to 2, some px without a prediction."""
    folder = tmp_path / "labels"
    folder.mkdir()
    random = np.random.default_rng(5)
    listed = []
    for entry in [e for e in entries(corpus) if e["split"] == "train"]:
        name, codes, samples = f"{entry['name'][:-4]}-0a0a0a0a.tar", [], []
        for key, _ in read_samples(corpus / entry["name"]):
            high, low = (encode(random.dirichlet((1, 1, 1), (32, 32)).transpose(2, 0, 1)) for _ in range(2))
            high[:4] = 255
            codes.append(high)
            info = encode_json({"version": 1, "of": key})
            samples.append((key, {"high.png": encode_png(high), "json": info, "low.png": encode_png(low)}))
        write_shard(folder / name, samples)
        classes = decode(np.array(codes), 0.75)
        counts = {
            c: int((classes == i).sum())
            for i, c in ((0, "background"), (1, "tumour"), (2, "others"), (255, "rejected"))
        }
        listed.append(
            {
                "name": name,
                "bytes": (folder / name).stat().st_size,
                "sha256": sha256_file(folder / name),
                "index_sha256": save_index(index_path(folder / name), index_shard(folder / name, LABEL_MEMBERS)),
                "samples": len(samples),
                "slide": entry["slide"],
                "split": "train",
                "of": entry["name"],
                "seeds": {"tumour": 1, "not drawn": len(samples) - 1},
                "pixels": counts,
            }
        )
    tree = json.loads((corpus / "manifest.json").read_text())
    keep = {key: tree[key] for key in ("version", "fingerprint", "views")}
    total = {name: sum(e["pixels"][name] for e in listed) for name in ("background", "tumour", "others")}
    tree = keep | {
        "kind": "labels",
        "members": LABEL_MEMBERS,
        "classes": ["background", "tumour", "others"],
        "shards": listed,
        "totals": {"shards": len(listed), **{k: sum(e[k] for e in listed) for k in ("samples", "bytes")}},
        "facts": {"threshold": 0.75, "accepted": total},
    }
    (folder / "manifest.json").write_text(json.dumps(tree))
    return folder


def test_a_sound_round_of_labels_is_sound(labels):
    report = verify_corpus(labels, 1)
    assert (report.damage, report.warnings) == ([], [])
    assert report.samples == sum(entry["samples"] for entry in entries(labels)) > 20
    assert sum(entry["pixels"]["tumour"] for entry in entries(labels)) > 100
    assert sample.LEVELS == LEVELS


def rewrite_labels(folder: Path, row: int, member: str, data: bytes) -> str:
    entry = entries(folder)[0]
    path = folder / entry["name"]
    samples = read_samples(path)
    samples[row][1][member] = data
    write_shard(path, samples)
    digest = save_index(index_path(path), index_shard(path, LABEL_MEMBERS))

    def agree(tree):
        tree["shards"][0] |= {"bytes": path.stat().st_size, "sha256": sha256_file(path), "index_sha256": digest}
        tree["totals"]["bytes"] = sum(e["bytes"] for e in tree["shards"])

    edit_manifest(folder, agree)
    return f"{path.name} {samples[row][0]}: "


@pytest.mark.parametrize(
    ("member", "data", "what"),
    [
        ("low.png", encode_png(np.full((32, 32), 63, np.uint8)), "low.png has values that are no class: 63"),
        ("low.png", encode_png(np.full((31, 31), 9, np.uint8)), "low.png is 31 x 31 px"),
        ("json", encode_json({"version": 1, "of": "another"}), "json says of 'another'"),
        ("low.png", b"", "low.png cannot be decoded"),
    ],
)
def test_damaged_labels_are_found(labels, member, data, what):
    start = rewrite_labels(labels, 3, member, data)
    (text,) = found(labels)
    assert text.startswith(start + what)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda t: t["shards"][0]["pixels"].update(tumour=1), "px of tumour, the manifest says 1"),
        (lambda t: t["shards"][0]["pixels"].update(rejected=1), "px of rejected, the manifest says 1"),
        (lambda t: t["facts"]["accepted"].update(tumour=1), "accepted says 1 of tumour"),
        (lambda t: t["shards"][0]["seeds"].update(tumour=5), "seeds add up to"),
        (lambda t: t["shards"][1].update(of=t["shards"][0]["of"]), "2 sidecars speak of"),
        (lambda t: t["facts"].pop("threshold"), "nothing below it can be checked"),
    ],
)
def test_an_edited_round_of_labels_is_found(labels, edit, what):
    edit_manifest(labels, edit)
    assert any(what in text for text in found(labels))


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
