"""Each fault once, on real ranks of the real network; `make chaos N=100` runs as many as wanted, with random ones."""

import os
import subprocess

import pytest

from tests.faults.chaos import Chaos, Schedule
from tests.faults.faults import FAULTS, NEEDS_MOUNT

IN_CI = {
    "kill a rank": ("deepspeed", 0, 2, 5),
    "stop a rank": ("ddp", 0, 2, 7),
    "USR2 to one": ("deepspeed", 1, 2, 6),
    "kill while saving": ("ddp", 0, 2, 3),
    "flip a bit of the newest checkpoint": ("deepspeed", 0, 2, 10),
    "damage a shard": ("deepspeed", 2, 2, 9),
    "fill the disk": ("deepspeed", 0, 2, 5),
    "W&B unreachable": ("deepspeed", 0, 2, 8),
}
"""Fault -> engine, ZeRO stage, ranks, step."""

SHORT = ("kill a rank", "flip a bit of the newest checkpoint", "fill the disk")
LONG = pytest.mark.long(short="tests/faults/test_faults.py::test_after_a_fault_training_ends_as_if_it_had_not_happened")


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    return Chaos(tmp_path_factory.mktemp("chaos"), seed=0)


def can_mount(folder) -> bool:
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode == 0:
        subprocess.run(["umount", folder], check=True)
    return done.returncode == 0


@pytest.mark.parametrize("fault", [fault if fault in SHORT else pytest.param(fault, marks=LONG) for fault in IN_CI])
def test_after_a_fault_training_ends_as_if_it_had_not_happened(chaos, tmp_path, fault):
    if fault in NEEDS_MOUNT and not can_mount(tmp_path):
        pytest.skip("mounting a small file system is not allowed here: a full disk is not tested")
    engine, zero, world, step = IN_CI[fault]
    assert fault in FAULTS
    chaos.run(Schedule(list(IN_CI).index(fault), fault, engine, zero, world, step))
