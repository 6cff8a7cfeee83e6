"""What relative paths in a campaign file are relative to, so that one file names one campaign from wherever it is started.

A path in the file starts at the project, which is the nearest folder at or above the file that holds slurm/master.sh and
pyproject.toml (a source tree) or mlseg.json (laid out by `mlseg init`); a file outside any project starts at its own folder. A
path on the command line starts at the working folder. The resolved config holds absolute paths. A run folder that an earlier
version made may have recorded relative ones; they start at the working folder of its first start (RUN/code/frozen.json). Its
`tiles.folder` stays as it was recorded, because it is part of a fingerprint.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NOT_FINGERPRINTED = (("runs",), ("slides",), ("train", "cache_dir"))
PATH_KEYS = (*NOT_FINGERPRINTED, ("tiles", "folder"))
"""The keys of a campaign file that hold paths."""
LAID_OUT = "mlseg.json"
"""What `mlseg init` marks a working folder with."""
_WORKERS_ONCE = 4
"""The former default of train.workers, which every run recorded; today's is `auto`."""


def base_of(config: Path) -> Path:
    """The folder that relative paths in the campaign file start at, absolute. Symbolic links stay as they are."""
    folder = Path(config).absolute().parent
    if ".." in folder.parts:
        folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if is_project(candidate):
            return candidate
    return folder


def is_project(folder: Path) -> bool:
    """A source tree, or a working folder that `mlseg init` laid out."""
    marks = ("pyproject.toml", LAID_OUT)
    return (folder / "slurm" / "master.sh").is_file() and any((folder / mark).is_file() for mark in marks)


def make_absolute(raw: dict[str, Any], base: Path, keys: Sequence[Sequence[str]] = PATH_KEYS) -> None:
    """Replace each relative path in the plain tree by `base` / path. Values that are not text are left to the validation."""
    for node, key in _places(raw, keys):
        node[key] = str((base / Path(node[key]).expanduser()).absolute())


def as_recorded(new: dict[str, Any], recorded: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`new` with the recorded path wherever both name the same place, and with a default that has changed since as it was then.

    Changes nothing else; returns a new tree.

    new: a resolved config, as plain values.  recorded: the one in the run folder.  folder: what its relative paths start at.
    """
    kept = {key: dict(value) if isinstance(value, dict) else value for key, value in new.items()}
    old = {tuple(keys): node[key] for keys in PATH_KEYS for node, key in _places(recorded, [keys])}
    for keys in PATH_KEYS:
        before = old.get(tuple(keys))
        for node, key in _places(kept, [keys]):
            if before is not None and same_place(folder / before, Path(node[key])):
                node[key] = before
    if "workers" not in kept["train"] and recorded["train"].get("workers") == _WORKERS_ONCE:
        kept["train"]["workers"] = _WORKERS_ONCE
    return kept


def same_place(one: Path, other: Path) -> bool:
    """True if both name the same file or folder, or if they are equal and nothing is there."""
    if one.absolute() == other.absolute():
        return True
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()


def _places(raw: dict[str, Any], keys: Sequence[Sequence[str]]) -> Iterator[tuple[dict[str, Any], str]]:
    """(map, key) for each of the keys that is present and holds text."""
    for *parents, last in keys:
        node: Any = raw
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(node.get(last), str):
            yield node, last
