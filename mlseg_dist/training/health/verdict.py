"""Who holds the job up: a pure function of what is seen of the ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlseg_dist.training.health.beats import Seen
from mlseg_dist.training.health.pulse import UNHURRIED, WAITING

Kind = Literal["silent", "still", "left", "behind", "all-wait"]


@dataclass(frozen=True)
class Verdict:
    """kind: silent: no heartbeat. still: heartbeats, no progress. left: ended while others wait for it. behind: waits in a
    collective of an earlier step than all others. all-wait: all wait in the same collective, nobody is to blame."""

    kind: Kind
    ranks: tuple[Seen, ...]
    for_s: float
    """How long, at least."""


def judge(seen: Sequence[Seen], after_s: float, trust_s: float) -> Verdict | None:
    """None while nobody has stood still for after_s, and while it is not clear who does.

    trust_s: a heartbeat older than this makes a rank doubtful; nobody else is blamed then.
    """
    living = [s for s in seen if not s.beat.left]
    silent = [s for s in living if s.silent_s >= after_s]
    if silent:
        return Verdict("silent", tuple(silent), min(s.silent_s for s in silent))
    if any(s.silent_s >= trust_s for s in living):
        return None
    free = [s for s in living if s.beat.stage not in WAITING]
    if free:
        # Ranks ahead of another may wait for it unknown to us (DDP sums while the backward runs): only the last are to blame.
        last = min(_place(s) for s in free)
        return _verdict("still", [s for s in free if _place(s) == last and _stands(s, after_s)])
    waiting = [s for s in living if _stands(s, after_s)]
    if len(waiting) < len(living):
        return None
    left = [s for s in seen if s.beat.left]
    if left and waiting:
        # Who waited before for a good reason (rank 0 waits for a full disk) counts from when the other left.
        for_s = min(min(s.beat.still_s for s in waiting), max(s.silent_s for s in left))
        return Verdict("left", tuple(left), for_s) if for_s >= after_s else None
    behind = [s for s in waiting if s.beat.step == min(w.beat.step for w in waiting)]
    return _verdict("behind" if len(behind) < len(waiting) else "all-wait", behind)


def _verdict(kind: Kind, ranks: list[Seen]) -> Verdict | None:
    return Verdict(kind, tuple(ranks), min(s.beat.still_s for s in ranks)) if ranks else None


def _stands(s: Seen, after_s: float) -> bool:
    return s.beat.still_s >= after_s and s.beat.stage not in UNHURRIED


def _place(s: Seen) -> tuple[int, int]:
    return s.beat.step, s.beat.stages


def sentence(verdict: Verdict, process: str, longest: int = 4) -> str:
    """For events.jsonl and people. process: the state of the first rank's process, in words."""
    names = ", ".join(f"rank {s.rank} on {s.beat.host} (pid {s.beat.pid})" for s in verdict.ranks[:longest])
    more = len(verdict.ranks) - longest
    names += f" and {more} more" if more > 0 else ""
    first = verdict.ranks[0].beat
    place, since = f"`{first.stage}` of step {first.step}", f"since {verdict.for_s:.0f} s"
    verb = "s" if len(verdict.ranks) == 1 else ""
    if verdict.kind == "silent":
        return f"{names} send{verb} no heartbeat {since}, last seen in {place}; process state {process}"
    if verdict.kind == "still":
        return f"{names} stand{verb} still {since} in {place}; process state {process}"
    if verdict.kind == "left":
        return f"{names} left the job in {place}, and the others wait {since}; process state {process}"
    if verdict.kind == "behind":
        return f"{names} wait{verb} {since} in a collective of step {first.step} which the others have passed"
    return f"all ranks wait {since} in a collective of step {first.step}; is the network or a device at fault?"
