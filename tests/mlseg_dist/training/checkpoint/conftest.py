"""A folder of checkpoints, its events, and a disk that is soon full."""

import subprocess

import pytest

from mlseg_dist.events import Events


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def events(tmp_path):
    return Events(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs of so many bytes; unmounted afterwards."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"NOT TESTED on a full disk: a tmpfs cannot be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    subprocess.run(["umount", "-l", place], capture_output=True)
