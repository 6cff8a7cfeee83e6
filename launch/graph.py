"""The campaign as a plain list of phases with dependencies. In: the config. Out: what to do, in order.

slides -> shards -> base -> (label-K -> master-K) for every later step -> evaluate -> report
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
        if index > 0:
            teacher = trained[-1]
            inputs = (*inputs, teacher, add(f"label-{index}", "label", (shards, teacher), index))
        trained.append(add(step.name, "train", inputs, index))
    evaluated = add("evaluate", "evaluate", (shards, *trained))
    add("report", "report", (shards, *trained, evaluated))
    names = [phase.name for phase in phases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the step name {twice[0]!r} is the name of another phase", "steps", "Rename the step.")
    return tuple(phases)
