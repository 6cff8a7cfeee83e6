"""How the steps of a campaign follow each other: its own ladder, and those of its controls beside it.

A control runs the same steps, with as many optimizer steps, on other labels than pseudo-labels. Its steps follow in the config
behind the campaign's own, so that they are trained, checkpointed and evaluated like any other.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

Teach = Literal["human", "pseudo", "both"]
ControlName = Literal["human-only"]


class Step(Protocol):
    """What the order of steps depends on."""

    @property
    def teach(self) -> Teach: ...

    @property
    def control(self) -> str: ...


def step_before(steps: Sequence[Step], index: int) -> int | None:
    """Index of the step whose teacher comes before this one; None for the first. A control begins with the campaign's first."""
    if index == 0:
        return None
    return index - 1 if steps[index].control == steps[index - 1].control else 0


def round_of(steps: Sequence[Step], index: int) -> int | None:
    """Number of the round of labels that a step learns from: its own index; None for one that learns from people alone."""
    return index if index > 0 and steps[index].teach != "human" else None


def with_controls(raw: Any) -> Any:
    """A config's plain tree, its controls' steps written out behind its own.

    Those that are there already, in a config that was recorded, are replaced. What is no list of steps stays for the model to
    refuse.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("steps"), list):
        return raw
    if not all(isinstance(step, dict) for step in raw["steps"]) or not isinstance(raw.get("controls", []), list):
        return raw
    own = [step for step in raw["steps"] if not step.get("control")]
    made = [
        {**step, "name": f"{control}-{step.get('name')}", "teach": "human", "control": control}
        for control in raw.get("controls", [])
        for step in own[1:]
    ]
    return {**raw, "steps": [*own, *made]}
