"""Numbers on the command line, for argparse: what is wrong is one line, before any work, with exit status 2."""

import math
from collections.abc import Callable

from mlseg_core.errors import UserError


def at_least_one(option: str) -> Callable[[str], int]:
    """Reads a whole number from 1: processes, steps. Raises UserError that names the option."""

    def read(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < 1:
            raise UserError(f"{text!r} is not a whole number from 1", option, "Give 1 or more.")
        return int(text)

    return read


def seconds(option: str) -> Callable[[str], float]:
    """Reads a time in seconds, more than none. Raises UserError that names the option."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise UserError(f"{text!r} is not a number of seconds", option, "Give more than 0.")
        return number

    return read
