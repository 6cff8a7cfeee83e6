"""The drift gate: has a class's share collapsed?

Self-training forgets rare classes: what a teacher does not find its student is not taught. Two things are looked at: what this
round accepts, against the round before; and what the next step will be taught (human px first, then accepted ones; pairs to
draw), against the human labels alone, so that a slow loss shows too. What round 1 accepts is not held against human labels: a
base at threshold .9 is sure of little of a hard class (of GlaS's `others`, of nothing); where people have annotated, that
does no harm.
Shares swing by a factor of three between sound rounds: the gate is meant for what is nearly gone, not for what has become less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlseg_dist.config import CLASSES
from mlseg_dist.events import Events, Level


@dataclass(frozen=True)
class Shares:
    """Class -> its part of the accepted px, of the px that are taught, of the pairs that can be drawn. {}: there are none."""

    accepted: Mapping[str, float]
    taught: Mapping[str, float]
    drawn: Mapping[str, float]


@dataclass(frozen=True)
class Collapse:
    """A class of which too little is left. now, before: its parts of `what`.  against: whose part `before` is."""

    name: str
    what: str
    now: float
    before: float
    against: str

    def __str__(self) -> str:
        kept = self.now / self.before
        return (
            f"class {self.name} has collapsed to {self.now:.3%} of {self.what} "
            f"from {self.before:.3%} in {self.against} ({kept:.3f} of it)"
        )


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Share of each class among all that has one; {} when nothing has."""
    total = sum(counts.get(name, 0) for name in CLASSES)
    return {name: counts.get(name, 0) / total for name in CLASSES} if total else {}


def collapses(now: Shares, before: Mapping[str, float], human: Shares, kept: float) -> list[Collapse]:
    """Classes with less than `kept` of the share that they had. before: shares of what the round before accepted, or {}.

    A round that accepts nothing teaches nothing wrong: the next step learns from human labels alone.
    """
    compared = (
        ("the accepted px", now.accepted, before, "the round before"),
        ("the px that are taught", now.taught, human.taught, "the human labels"),
        ("the pairs to draw", now.drawn, human.drawn, "the human labels"),
    )
    return [
        Collapse(name, what, share[name], old[name], against)
        for what, share, old, against in compared
        for name in CLASSES
        if share and old.get(name, 0) > 0 and share[name] < kept * old[name]
    ]


def told(events: Events | None, event: str, text: str, level: Level, **facts: Any) -> None:
    if events is not None:
        events.log(event, text, level, **facts)
