"""The checker that judges every campaign here has to be able to say no."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cluster import checker


def write_tar(path: Path, keys: list[str], members: tuple[str, ...]) -> dict[str, str]:
    with tarfile.open(path, "w") as tar:
        for key in keys:
            for member in members:
                tar.addfile(tarfile.TarInfo(f"{key}.{member}"), io.BytesIO())
    return {"name": path.name, "split": "train"}


def write_run(run: Path, labelled: list[list[str]]) -> Path:
    """Patches a to d to learn from in two shards, v to validate on; `labelled`: the keys in each tar of round 1."""
    shards, labels = run / "data" / "shards", run / "data" / "labels-1"
    for folder in (shards, labels):
        folder.mkdir(parents=True)
    corpus = [
        write_tar(shards / f"{keys}.tar", list(keys), ("high.jpg", "low.jpg", "json", "high.png"))
        for keys in ("ab", "cd")
    ]
    corpus.append(write_tar(shards / "v.tar", ["v"], ("json",)) | {"split": "val"})
    made = [write_tar(labels / f"{i}.tar", keys, ("high.png", "json")) for i, keys in enumerate(labelled)]
    write_tar(labels / "not-listed.tar", ["a", "b"], ("high.png", "json"))
    (shards / "manifest.json").write_text(json.dumps({"shards": corpus}))
    (labels / "manifest.json").write_text(json.dumps({"shards": made}))
    return run


@pytest.mark.parametrize(
    ("labelled", "lost", "doubled"),
    [
        ([["a", "b"], ["c", "d"]], 0, 0),
        ([["a", "b"], ["c"]], 1, 0),
        ([["a", "b"], ["c", "d"], ["b"]], 0, 1),
        ([["a", "b"], ["b", "c"]], 1, 1),
        ([["a", "b"], ["c", "d", "v"]], 0, 1),
        ([], 4, 0),
    ],
)
def test_the_checker_counts_what_is_lost_and_what_is_doubled(tmp_path, labelled, lost, doubled) -> None:
    run = write_run(tmp_path, labelled)
    assert checker.count(run) == {"labels-1": (4, lost, doubled)}
    answer = subprocess.run([sys.executable, checker.__file__, run], capture_output=True, text=True, check=False)
    assert answer.stdout == f"labels-1: 4 patches, {lost} lost, {doubled} doubled\n"
    assert answer.returncode == (1 if lost or doubled else 0)


def test_a_run_without_a_round_is_no_proof(tmp_path) -> None:
    run = write_run(tmp_path, [])
    (run / "data" / "labels-1" / "manifest.json").unlink()
    assert subprocess.run([sys.executable, checker.__file__, run], check=False).returncode == 1
