"""What a process of a phase says of itself in the run folder: running, done, failed, user error, interrupted, stuck."""

from mlseg_core.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR

OF_EXIT = {EXIT_DONE: "done", EXIT_USER_ERROR: "user error", EXIT_INTERRUPTED: "interrupted"}
"""Exit status -> word; any other status: failed."""
STUCK = "stuck"
"""It ended because a rank of its job stood still."""
FAILURES = ("user error", "failed", STUCK)
"""In the order in which they explain why a phase failed."""
