"""What ended a process, in one line for people."""

from mlseg_core.errors import Interrupted, UserError

_MOST = 500
_LIBRARIES = ("gloo", "NCCL", "ProcessGroup")
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def one_line(error: BaseException | None) -> str:
    """The user's mistake and an interruption by their own words, anything else with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return f"error: {text}"
    if isinstance(error, Interrupted):
        return f"interrupted: {text}"
    if isinstance(error, RuntimeError) and (lost := _lost_peer(text)):
        return f"another rank of this job is gone ({lost}); its log says why, if it could"
    return f"{type(error).__name__}: {text}"[:_MOST]


def _lost_peer(text: str) -> str:
    """What gloo or NCCL says when the other end of a connection went away, without the rest; empty for other errors."""
    where = next((place for mark in _GONE if (place := text.find(mark)) >= 0), -1)
    if where < 0 or not any(name in text for name in _LIBRARIES):
        return ""
    return text[where:].split(". ")[0].rstrip(".")
