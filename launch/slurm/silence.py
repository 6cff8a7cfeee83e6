"""What it means when SLURM does not answer a question, in words for whoever looks at a campaign's status.

In: what its command wrote. Out: one sentence of why, and what that means for the campaign. Jobs do not need slurmctld to run on.
"""

import subprocess

_WORDS = (
    (
        "Unable to contact slurm controller",
        "its controller (slurmctld) is down, or cannot be reached from this machine",
    ),
    ("is DOWN", "its controller (slurmctld) is down, or cannot be reached from this machine"),
    ("Connection refused", "its controller (slurmctld) is down"),
    ("Socket timed out", "its controller (slurmctld) is busy and did not answer in time"),
    ("Zero Bytes were transmitted", "its controller (slurmctld) broke the connection, as it does when it restarts"),
    ("Protocol authentication error", "it does not accept this machine's credentials (munge): tell the site"),
    ("Munge", "this machine's munge, which proves who you are, does not work: tell the site"),
    ("Invalid user", "it does not know this user"),
    ("timed out after", "its command did not end in time: the controller (slurmctld) is busy or away"),
)
"""What stands in SLURM's line -> what it means."""


def silence_in_words(error: Exception) -> str:
    """error: what has_slurm, read_queue or subprocess raised."""
    said = " ".join(str(error).split())
    if isinstance(error, subprocess.TimeoutExpired):
        said = f"{error.cmd[0]} timed out after {error.timeout:.0f} s"
    means = next((words for mark, words in _WORDS if mark in said), "")
    line = said.removeprefix("sbatch: ").removeprefix("SLURM does not answer: ").partition(". Try again later")[0]
    return (f"SLURM does not answer: {means}. It said: {line}" if means else f"SLURM does not answer: {line}").rstrip(
        "."
    )
