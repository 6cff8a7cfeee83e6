"""What shows that a file of a corpus is ours: the record that names it, or its name and its content together. Reads only.

A corpus may lie in a folder that holds other files. Shards, overviews and seeds have names that carry a hash, and the first to
publish such a name wins; the few files with plain names are checked before a build begins (refuse_foreign_outputs). The records
of a map look after themselves (mlseg_core.exactly_once.records).
"""

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.store import Store, open_store
from shards.cutting.identity import KNOWN_SLIDES, is_known_slides
from shards.cutting.publish import QUARANTINE, QUARANTINE_HEAD
from shards.manifest import is_manifest
from shards.tar import Place

_SLUG_AND_HASH = r"(?P<slug>[A-Za-z0-9_-]+)-[0-9a-f]{8}"
_TAR = re.compile(rf"{_SLUG_AND_HASH}-\d{{3,}}\.tar")
_IDX = re.compile(rf"{_SLUG_AND_HASH}-\d{{3,}}\.idx")
_OVERVIEW = re.compile(rf"overview/{_SLUG_AND_HASH}\.(?P<kind>json|thumb\.jpg|tissue\.png)")
_SEEDS = re.compile(r"seeds-(?P<hash>[0-9a-f]{8})\.npy")
NAMES = (_TAR, _IDX, _OVERVIEW, _SEEDS)
"""Forms of the names that builds give their files."""
_OVERVIEW_KEYS = {"version", "slug", "slide", "size", "mpp", "seeds", "counts", "quarantined"}
_HEADS = {"thumb.jpg": b"\xff\xd8\xff", "tissue.png": b"\x89PNG\r\n\x1a\n"}
_TAIL_BYTES = 1 << 14
_HASHED_BYTES = 16 << 20
_CHUNK = 1 << 20


def has_own_form(name: str) -> bool:
    """Whether a name in the store is one that builds give their files."""
    return any(form.fullmatch(name) for form in NAMES)


def is_as_recorded(store: Store, name: str, size: int, fact: dict[str, Any]) -> str:
    """Empty, or why the file is not the one that the record describes: then somebody has changed it.

    A tar proves itself by its size and its index; small files are hashed.
    """
    if size != fact["bytes"]:
        return f"it was changed: {size} bytes, its record says {fact['bytes']}"
    if size <= _HASHED_BYTES:
        same = hashlib.sha256(store.read(name)).hexdigest() == fact["sha256"]
        return "" if same else "it was changed: its sha256 is not that of its record"
    if name.endswith(".tar") and _index_keys(store, name, size) is None:
        return "it was changed: it has no index at its end"
    return ""


def is_ours(store: Store, name: str, size: int) -> bool:
    """Whether a file that no record names was left by a build: its name has our form, and its content says so too."""
    if match := _TAR.fullmatch(name):
        keys = _index_keys(store, name, size)
        return keys is not None and all(_is_of(match["slug"], key) for key in keys)
    if match := _IDX.fullmatch(name):
        return _is_idx(store.read(name), match["slug"])
    if match := _OVERVIEW.fullmatch(name):
        described = _is_overview(store, f"{name.removesuffix(match['kind'])}json", match["slug"])
        return described and (match["kind"] == "json" or store.read(name).startswith(_HEADS[match["kind"]]))
    if match := _SEEDS.fullmatch(name):
        data = store.read(name)
        return hashlib.sha256(data).hexdigest().startswith(match["hash"]) and data.startswith(b"\x93NUMPY")
    return False


def has_index(store: Store, name: str, size: int) -> bool:
    """Whether a file is a tar of ours, of whatever samples."""
    return _index_keys(store, name, size) is not None


def _is_of(slug: str, key: str) -> bool:
    """Whether a sample's KEY is of the slide; see sample.make_key."""
    return key.startswith(f"{slug}+")


def _index_keys(store: Store, name: str, size: int) -> list[str] | None:
    """KEYs in the index at a tar's end; None: there is none. Reads the end alone."""
    try:
        with store.open(name) as tar, tempfile.TemporaryFile() as part:
            part.truncate(size)
            _copy(tar, part, max(0, size - _TAIL_BYTES), size)
            place = Place.find(part.fileno())
            if not 0 <= place.start < size:
                return None
            _copy(tar, part, place.start, size)
            index = np.load(io.BytesIO(place.npy(part.fileno())), allow_pickle=False)
        return [key.decode("ascii") for key in index["key"]]
    except (OSError, ValueError, IndexError):
        return None


def _copy(source: BinaryIO, target: Any, first: int, last: int) -> None:
    source.seek(first)
    target.seek(first)
    while first < last and (data := source.read(min(_CHUNK, last - first))):
        target.write(data)
        first += len(data)
    target.flush()


def _is_idx(data: bytes, slug: str) -> bool:
    """Text of wds2idx whose every sample is of the slide."""
    try:
        head, *lines = data.decode("ascii").splitlines()
        version, count = head.split()
        fields = [line.split() for line in lines]
        return (
            version == "v1.2"
            and int(count) == len(lines)
            and all(len(words) % 4 == 0 and words and all(_is_of(slug, key) for key in words[3::4]) for words in fields)
        )
    except ValueError:
        return False


def _is_overview(store: Store, name: str, slug: str) -> bool:
    try:
        found = json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() >= _OVERVIEW_KEYS and found["slug"] == slug


_OURS: dict[str, Callable[[bytes], bool]] = {
    "manifest.json": lambda data: is_manifest(data, "corpus"),
    KNOWN_SLIDES: is_known_slides,
    QUARANTINE: lambda data: data.startswith(",".join(QUARANTINE_HEAD).encode()),
}


def refuse_foreign_outputs(out: Path | str) -> None:
    """Raises UserError for a file of somebody else in the place of one that a build writes."""
    with open_store(out) as store:
        for name, is_ours in _OURS.items():
            try:
                data = store.read(name)
            except FileNotFoundError:
                continue
            except (IsADirectoryError, NotADirectoryError):
                data = b""
            if not is_ours(data):
                raise UserError(
                    "is not a file that mlseg wrote here, and would be overwritten",
                    f"{store.where}/{name}",
                    "Move it away, or choose another folder with --out.",
                )
