"""Patches that a round of labels lost or counted twice: `python checker.py RUN`. Knows the files, not what wrote them."""

import json
import sys
import tarfile
from collections import Counter
from pathlib import Path


def keys(tar: Path) -> list[str]:
    """Of each pair once: the stems of its .json members."""
    with tarfile.open(tar) as members:
        return [name.removesuffix(".json") for name in members.getnames() if name.endswith(".json")]


def listed(manifest: Path, split: str) -> list[Path]:
    return [manifest.parent / s["name"] for s in json.loads(manifest.read_text())["shards"] if s["split"] == split]


def count(run: Path) -> dict[str, tuple[int, int, int]]:
    """Round -> patches to label, lost, doubled; a patch that nobody asked for counts as doubled."""
    asked = Counter(key for tar in listed(run / "data/shards/manifest.json", "train") for key in keys(tar))
    rounds = sorted((run / "data").glob("labels-*/manifest.json"))
    made = {path.parent.name: Counter(key for tar in listed(path, "train") for key in keys(tar)) for path in rounds}
    return {n: (asked.total(), (asked - got).total(), (got - asked).total()) for n, got in made.items()}


if __name__ == "__main__":
    counts = count(Path(sys.argv[1]))
    for name, (patches, lost, doubled) in counts.items():
        print(f"{name}: {patches} patches, {lost} lost, {doubled} doubled")
    sys.exit(not counts or any(lost or doubled for _, lost, doubled in counts.values()))
