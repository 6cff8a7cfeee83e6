"""What a person reads when a process ended."""

import signal
import subprocess
import sys
import textwrap

import pytest

from launch.endings import one_line
from mlseg_core.errors import Interrupted, UserError

RANK = """
    import os, signal, sys
    from datetime import timedelta
    import torch, torch.distributed as dist
    from launch.endings import one_line
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", f"file://{sys.argv[2]}", timedelta(seconds=30), 2, rank)
    dist.barrier()
    if rank:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        dist.all_reduce(torch.ones(4))
    except RuntimeError as error:
        print(one_line(error))
"""


def test_a_rank_whose_peer_was_killed_says_that(tmp_path):
    words = [sys.executable, "-c", textwrap.dedent(RANK)]
    ranks = [
        subprocess.Popen([*words, str(rank), str(tmp_path / "meet")], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    said, _ = ranks[0].communicate(timeout=60)
    assert ranks[1].wait(60) == -signal.SIGKILL
    assert said.startswith("another rank of this job is gone (Connection ") and said.endswith(
        "its log says why, if it could\n"
    )
    assert "gloo" not in said and "GLHF" not in said, said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("no mpp", "slides.csv", "Add it."), "error: slides.csv: no mpp. Add it."),
        (Interrupted("stopped\nhere"), "interrupted: stopped here"),
        (RuntimeError("Connection closed by peer"), "RuntimeError: Connection closed by peer"),
        (ValueError("a\n  b"), "ValueError: a b"),
    ],
)
def test_other_errors_keep_their_words(error, said):
    assert one_line(error) == said


def test_a_long_error_is_cut():
    assert len(one_line(RuntimeError("x" * 10_000))) == 500
