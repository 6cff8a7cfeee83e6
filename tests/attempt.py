"""One row of a table of random faults: what a schedule said, or how it failed and which folder is kept."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path


def attempt(run: Callable[[], str], kept: Path) -> tuple[bool, str]:
    """(is it as it would have been undisturbed, what to print)"""
    try:
        return True, f"ok   {run()}"
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return False, f"FAIL {type(error).__name__}; kept: {kept}"
