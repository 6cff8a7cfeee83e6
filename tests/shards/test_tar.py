"""Tars: the bytes are tarfile's, and what write_shard did not write is refused."""

import io
import tarfile

import pytest

from shards.tar import BadShard, index_shard, write_shard

MEMBERS = ("high.jpg", "json")
SAMPLES = [
    ("s+y0000001+x0000001", {"high.jpg": bytes(range(256)) * 5, "json": b"{}"}),
    ("s+y0000001+x0000002", {"json": b"", "high.jpg": b"x" * 512}),
    ("s" * 40 + "+y0000001+x0000002", {"high.jpg": b"y" * 1537, "json": b"z"}),
]


def by_tarfile(samples):
    """The same tar, written by the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples:
            for name in sorted(members):
                entry = tarfile.TarInfo(f"{key}.{name}")
                entry.size, entry.mode = len(members[name]), 0o444
                entry.uname = entry.gname = "mlseg"
                tar.addfile(entry, io.BytesIO(members[name]))
    return out.getvalue()


@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES[:1], []])
def test_a_shard_is_what_tarfile_writes(samples, tmp_path):
    write_shard(tmp_path / "a.tar", samples)
    assert (tmp_path / "a.tar").read_bytes() == by_tarfile(samples)


def test_the_index_points_at_the_members(tmp_path):
    write_shard(tmp_path / "a.tar", SAMPLES)
    data = (tmp_path / "a.tar").read_bytes()
    for row, (key, members) in zip(index_shard(tmp_path / "a.tar", MEMBERS), SAMPLES, strict=True):
        assert row["key"] == key.encode()
        for name, offset, size in zip(MEMBERS, row["offset"], row["size"], strict=True):
            assert data[offset : offset + size] == members[name]


@pytest.mark.parametrize("byte", [0, 124, 134, 150, 156, 257, 300])
def test_a_changed_byte_of_a_header_is_refused(byte, tmp_path):
    write_shard(tmp_path / "a.tar", SAMPLES)
    for value in (0, 9, 0x39, 0xFF):
        data = bytearray((tmp_path / "a.tar").read_bytes())
        second = 512 + 1536
        if data[second + byte] == value:
            continue
        data[second + byte] = value
        (tmp_path / "b.tar").write_bytes(data)
        with pytest.raises(BadShard, match=f"at byte {second}"):
            index_shard(tmp_path / "b.tar", MEMBERS)


@pytest.mark.parametrize("left", [100, 512, 600, 2048, 2048 + 513])
def test_a_cut_off_tar_is_refused(left, tmp_path):
    write_shard(tmp_path / "a.tar", SAMPLES)
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(data[:left])
    with pytest.raises(BadShard):
        index_shard(tmp_path / "b.tar", MEMBERS)


def test_a_name_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a member"):
        write_shard(tmp_path / "a.tar", [("k" * 100, {"json": b""})])
