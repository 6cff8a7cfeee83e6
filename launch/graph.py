"""The campaign as a plain list of phases with dependencies. In: the config. Out: what to do, in order.

slides -> shards -> base -> (label-K -> master-K) for every later step that learns from labels -> evaluate -> report
shards -> generators -> style, for the steps whose augmentation has gan_style
"""

from dataclasses import dataclass
from typing import Literal

from launch.config import CampaignConfig
from mlseg_core.errors import UserError
from mlseg_dist.augment.style_ops import reads_styled

KindName = Literal["slides", "shards", "generators", "style", "train", "label", "evaluate", "report"]


@dataclass(frozen=True)
class Phase:
    """A node of the campaign.

    inputs: names of the phases whose outputs it reads.
    step: for train, the index in config.steps; for label, the index of the step that will train on the labels.
    """

    number: int
    name: str
    kind: KindName
    inputs: tuple[str, ...] = ()
    step: int = -1

    @property
    def folder(self) -> str:
        """Name of its folder under RUN/phases, sorted as the campaign goes."""
        return f"{self.number:02d}-{self.name}"


def build_graph(config: CampaignConfig) -> tuple[Phase, ...]:
    """The phases in an order in which every phase comes after its inputs. Raises UserError."""
    phases: list[Phase] = []

    def add(name: str, kind: KindName, inputs: tuple[str, ...], step: int = -1) -> str:
        phases.append(Phase(len(phases), name, kind, inputs, step))
        return name

    drawn = () if config.slides is not None else (add("slides", "slides", ()),)
    shards = add("shards", "shards", drawn)
    styled: tuple[str, ...] = ()
    if any(reads_styled(step.augment) for step in config.steps):
        styled = (add("style", "style", (shards, add("generators", "generators", (shards,)))),)
    trained: list[str] = []
    for index, step in enumerate(config.steps):
        inputs: tuple[str, ...] = (shards, *(styled if reads_styled(step.augment) else ()))
        before, number = config.step_before(index), config.round_of(index)
        if before is not None and (number is not None or step.start == "teacher"):
            inputs = (*inputs, trained[before])
        if before is not None and number is not None:
            inputs = (*inputs, add(f"label-{number}", "label", (shards, trained[before]), index))
        trained.append(add(step.name, "train", inputs, index))
    evaluated = add("evaluate", "evaluate", (shards, *trained))
    add("report", "report", (shards, *trained, evaluated))
    names = [phase.name for phase in phases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the step name {twice[0]!r} is the name of another phase", "steps", "Rename the step.")
    return tuple(phases)
