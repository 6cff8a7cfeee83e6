"""Tars: what tarfile writes, with an index at the end; what is not whole is refused."""

import hashlib
import io
import os
import struct
import tarfile
from contextlib import suppress

import google_crc32c
import numpy as np
import pytest
import webdataset

from shards.tar import END_MARK, NAME, BadShard, Place, ShardReader, size_and_index_sha256, write_shard
from tests.shards.tars import index_of, replace_index

MEMBERS = ("high.jpg", "json")
SAMPLES = [
    ("s+y0000001+x0000001", {"high.jpg": bytes(range(256)) * 5, "json": b"{}"}),
    ("s+y0000001+x0000002", {"json": b"{1}", "high.jpg": b"x" * 512}),
    ("s" * 40 + "+y0000001+x0000002", {"high.jpg": b"y" * 1537, "json": b"z"}),
]
PAIR = dict.fromkeys(MEMBERS, b"x")


@pytest.fixture
def path(tmp_path):
    write_shard(tmp_path / "a.tar", SAMPLES)
    return tmp_path / "a.tar"


def place_of(path):
    with open(path, "rb") as file:
        return Place.find(file.fileno())


def by_tarfile(members):
    """The same tar, written by the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o444
            entry.uname = entry.gname = "mlseg"
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES[:1], []])
def test_a_shard_is_what_tarfile_writes_and_its_last_member_is_the_index(samples, tmp_path):
    path = tmp_path / "a.tar"
    write_shard(path, samples)
    with tarfile.open(path) as tar:
        listed = [(entry.name, tar.extractfile(entry).read()) for entry in tar]
    expected = [(f"{key}.{name}", members[name]) for key, members in samples for name in sorted(members)]
    assert listed[:-1] == expected and listed[-1][0] == NAME
    assert path.read_bytes() == by_tarfile(listed)


def test_webdataset_reads_it_and_passes_over_the_index(path):
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
    assert [(s["__key__"], s["high.jpg"], s["json"]) for s in samples] == [
        (key, members["high.jpg"], members["json"]) for key, members in SAMPLES
    ]


def test_the_index_points_at_the_members(path):
    data = path.read_bytes()
    for row, (key, members) in zip(index_of(path), SAMPLES, strict=True):
        assert row["key"] == key.encode()
        for column, name in enumerate(MEMBERS):
            found = data[row["offset"][column] :][: row["size"][column]]
            assert found == members[name] and row["crc32c"][column] == google_crc32c.value(found)


def test_a_reader_gives_the_same_with_and_without_the_whole_index(path):
    with ShardReader(path, MEMBERS) as by_row, ShardReader(path, MEMBERS) as whole:
        assert len(whole.index) == len(by_row) == len(SAMPLES)
        for position, (key, members) in enumerate(SAMPLES):
            assert by_row.key(position) == whole.key(position) == key
            assert by_row.read(position) == whole.read(position) == members
            assert by_row.read(position, ["json"]) == {"json": members["json"]}
            assert by_row.read_member(position, 0) == members["high.jpg"]
        for position in (-1, 3, 10**6):
            with pytest.raises(BadShard, match=f"no row {position}"):
                by_row.key(position)
        size, digest = size_and_index_sha256(path)
        assert (size, digest) == (path.stat().st_size, by_row.index_sha256)
    place = place_of(path)
    npy = path.read_bytes()[place.start : place.first + place.rows * place.row_bytes]
    assert hashlib.sha256(npy).hexdigest() == digest
    assert np.array_equal(np.load(io.BytesIO(npy)), index_of(path))


def test_the_same_samples_give_the_same_bytes_and_others_another_index(path, tmp_path):
    write_shard(tmp_path / "b.tar", [(key, dict(reversed(members.items()))) for key, members in SAMPLES])
    assert (tmp_path / "b.tar").read_bytes() == path.read_bytes()
    write_shard(tmp_path / "c.tar", [*SAMPLES[:2], (SAMPLES[2][0], {**SAMPLES[2][1], "json": b"y"})])
    first, other = (size_and_index_sha256(tmp_path / name) for name in ("a.tar", "c.tar"))
    assert first[0] == other[0] and first[1] != other[1]


def refused(path, what):
    with pytest.raises(BadShard, match=what):
        size_and_index_sha256(path)
    with pytest.raises(BadShard, match=what), ShardReader(path, MEMBERS) as reader:
        reader.index


@pytest.mark.parametrize("left", [0, 5, 512, 2048, 2048 + 513, -1, -512, -1024, -10240])
def test_a_cut_off_tar_is_refused(left, path):
    path.write_bytes(path.read_bytes()[:left])
    refused(path, f"{path}: has no index at its end")


def test_a_tar_with_more_behind_it_is_refused(path):
    data = path.read_bytes()
    path.write_bytes(data + b"x")
    refused(path, "has no index at its end")
    path.write_bytes(data[:512] + data)  # a member more, before all others
    refused(path, rf"has {len(data) + 512} bytes, not the {len(data)} that were written")


def test_every_changed_byte_of_an_index_is_found(path):
    data, place = path.read_bytes(), place_of(path)
    npy_end = place.first + place.rows * place.row_bytes
    trailer = len(data) - len(END_MARK) - 52
    assert data[trailer : trailer + 8] == b"mlsegidx" and not any(data[npy_end:trailer])
    for at in (*range(place.start, npy_end), *range(trailer, trailer + 52)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        refused(path, "has a damaged index|has no index at its end")


def test_an_index_of_zeros_is_not_one_of_empty_members(path):
    """What a file system may leave of a page that it lost."""
    data, place = path.read_bytes(), place_of(path)
    size = place.row_bytes
    for zeroed in (size, size - 8, size - 16):  # from the row's end: with and without its key
        start = place.first + 2 * size - zeroed
        path.write_bytes(data[:start] + bytes(zeroed) + data[start + zeroed :])
        with ShardReader(path, MEMBERS) as reader:
            assert reader.read(2) == SAMPLES[2][1]
            for row in (0, 1):  # row 0 has to come before row 1, whose key is cut short
                with pytest.raises(BadShard, match="damaged"):
                    reader.read(row)


def test_a_changed_byte_of_a_member_is_found_when_it_is_read(path):
    data, row = bytearray(path.read_bytes()), index_of(path)[1]
    data[int(row["offset"][0]) + 7] ^= 1
    path.write_bytes(data)
    with ShardReader(path, MEMBERS) as reader:
        assert reader.read(0) == SAMPLES[0][1] and reader.read(1, ["json"]) == {"json": b"{1}"}
        with pytest.raises(BadShard, match=r"x0000002\.high\.jpg is damaged"):
            reader.read(1)


def test_an_index_of_other_members_is_refused(path):
    with pytest.raises(BadShard, match="an index of 2 members, not of 3"):
        ShardReader(path, ("high.jpg", "json", "low.jpg"))


def test_a_trailer_of_nonsense_that_has_a_true_checksum_reads_nothing_outside(path):
    data = bytearray(path.read_bytes())
    trailer = len(data) - len(END_MARK) - 52
    body = struct.pack("<8sQQQQII", b"mlsegidx", len(data), 1 << 62, (1 << 62) + 128, 1 << 40, 2, 0)
    data[trailer : trailer + 52] = body + struct.pack("<I", google_crc32c.value(body))
    path.write_bytes(data)
    with pytest.raises(BadShard, match="damaged index"):
        ShardReader(path, MEMBERS)


def test_no_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(BadShard, match=r"none\.tar: cannot be read \(No such file"):
        ShardReader(tmp_path / "none.tar", MEMBERS)
    with pytest.raises(BadShard, match="cannot be read"):
        size_and_index_sha256(tmp_path)


def as_read(path):
    """What a reader gives row by row, or BadShard: nothing else may come of a damaged tar."""
    with ShardReader(path, MEMBERS) as reader:
        return [(reader.key(row), reader.read(row)) for row in range(len(reader))]


def test_no_changed_byte_of_an_index_gives_another_key_or_other_members_by_row(path):
    data, place = path.read_bytes(), place_of(path)
    told = 0
    for at in range(place.first, place.first + place.rows * place.row_bytes):
        for bit in (0x01, 0x10, 0x80):
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            with pytest.raises(BadShard):
                as_read(path)
            told += 1
    assert told == 3 * 3 * place.row_bytes


def test_rows_that_changed_places_are_refused(path):
    data, place = path.read_bytes(), place_of(path)
    first, size = place.first, place.row_bytes
    rows = [data[first + row * size :][:size] for row in range(3)]
    for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (0, 0, 1), (1, 1, 2)):
        path.write_bytes(data[:first] + b"".join(rows[row] for row in order) + data[first + 3 * size :])
        with pytest.raises(BadShard, match="damaged index"):
            as_read(path)


def test_numbers_of_another_sample_under_a_key_are_refused(path):
    """Offset, size and crc32c are right for their member, which is not the row's."""
    index = index_of(path)
    for part in ("offset", "size", "crc32c"):
        index[part][0, 1], index[part][1, 1] = index[part][1, 1], index[part][0, 1]
    replace_index(path, index)
    with ShardReader(path, MEMBERS) as reader, pytest.raises(BadShard, match="damaged index or header"):
        reader.read(0)


@pytest.mark.parametrize("column", ["start", "first", "rows", "members"])
@pytest.mark.parametrize("value", [0, 1, 511, 1 << 20, (1 << 31) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_crafted_trailer_is_a_bad_shard_at_once(path, column, value):
    """With true checksums: no OverflowError, no MemoryError, no other samples."""
    if column == "members" and value >= 1 << 32:
        value = (1 << 32) - 1
    data, place = bytearray(path.read_bytes()), place_of(path)
    trailer = len(data) - len(END_MARK) - 52
    fields = {**place._asdict(), column: value}
    body = struct.pack("<8sQQQQII", b"mlsegidx", *fields.values())
    data[trailer : trailer + 52] = body + struct.pack("<I", google_crc32c.value(body))
    path.write_bytes(data)
    with suppress(
        BadShard
    ):  # fewer rows may be read one by one: their samples are right, and a manifest says how many there are
        read = as_read(path)
        assert column == "rows" and read == SAMPLES[: len(read)]
    with pytest.raises(BadShard):
        ShardReader(path, MEMBERS).index


def test_a_key_that_is_no_text_is_refused(path):
    index = index_of(path)
    index["key"][2] = b"\xff\xfe"
    replace_index(path, index)
    for whole in (False, True):
        with ShardReader(path, MEMBERS) as reader, pytest.raises(BadShard, match="damaged index"):
            (reader.index if whole else None, reader.key(2))


def test_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(BadShard, match="cannot be read"):
        ShardReader(tmp_path / "a.tar", MEMBERS)
    with pytest.raises(BadShard, match="cannot be read"):
        size_and_index_sha256(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        ([("k" * 65, PAIR)], "not the key"),
        ([("", PAIR)], "not the key"),
        ([("a.b", PAIR)], "not the key"),
        ([("../k", PAIR)], "not the key"),
        ([("k\0", PAIR)], "not the key"),
        ([("é", PAIR)], "not the key"),
        ([(NAME, PAIR)], "not the key"),
        ([("k2", PAIR), ("k1", PAIR)], "'k1' after 'k2'"),
        ([("k", PAIR), ("k", PAIR)], "'k' after 'k'"),
        ([("k1", PAIR), ("k2", {"json": b"x"})], "k2 has members json, not high.jpg, json"),
        ([("k1", PAIR), ("k2", {**PAIR, "exe": b"x"})], "k2 has members"),
        ([("k", {**PAIR, "json": b""})], "a member of k is empty"),
        ([("k", {"m" * 100: b"x"})], "not a member"),
    ],
)
def test_samples_that_have_no_place_in_a_shard_are_refused_and_leave_none(samples, what, tmp_path):
    with pytest.raises(ValueError, match=what):
        write_shard(tmp_path / "a.tar", samples)
    with pytest.raises(BadShard, match="has no index at its end"):
        ShardReader(tmp_path / "a.tar", MEMBERS)
