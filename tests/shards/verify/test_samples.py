"""mlseg shards verify: every kind of damage in tars and their members is found and named."""

import json

import cv2
import numpy as np
import pytest

from mlseg_core.files import sha256_file
from shards.manifest import read_manifest
from shards.sample import MEMBERS, encode_png
from shards.verify.corpus import verify_corpus
from tests.shards.tars import index_of
from tests.shards.verify.damage import edit_manifest, entries, found, read_samples, rewrite


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
    index = index_of(path)
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
    index = index_of(path)
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
        index = index_of(corpus / name)
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
    assert f"{name} {samples[3][0]}: 'exe' is not a member of these shards" in found(corpus)


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
