"""The steps of a campaign (Table 8), how they follow each other, and all that learning needs to know.

A control runs the same steps, with as many optimizer steps, on other labels than pseudo-labels. Its steps follow in the config
behind the campaign's own, so that they are trained, checkpointed and evaluated like any other.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from mlseg_core.config import StableDump
from mlseg_dist.augment.albumentations_ops import cpu_only
from mlseg_dist.augment.policy import DEFAULT_POLICY, PolicyConfig, named
from mlseg_dist.config.base import Positive
from mlseg_dist.config.evaluation import CheckConfig, EvaluateConfig, TrackingConfig
from mlseg_dist.config.labels import LabelConfig
from mlseg_dist.config.networks import LossConfig, ModelConfig
from mlseg_dist.config.training import TrainConfig
from mlseg_dist.style.config import StyleConfig

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


class StepConfig(StableDump):
    """One row of Table 8."""

    added_later: ClassVar = ("teach", "keep_better", "control")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    model: ModelConfig
    augment: PolicyConfig = DEFAULT_POLICY
    """In a file: the name of a policy, or a list of names and ops."""
    epochs: Annotated[float, Field(gt=0)]
    lr: Positive
    """LR0: learning rate that the schedule starts from."""
    weights: Literal["static", "dynamic"]
    start: Literal["fresh", "teacher"] = "fresh"
    """Random weights, or those of the step before."""
    label: LabelConfig
    """How this step's model labels the corpus for the next one; unused by the last step."""
    teach: Teach = "both"
    """What the step learns from: people's labels, those that the step before made as teacher, or both, people's first. The first
    step has people's alone."""
    keep_better: bool = False
    """Also validate the teacher that the step starts from (`start: teacher`), and publish it again where no later weights score
    better: a round of labels that does harm is then not handed on."""
    control: str = ""
    """The control that the step belongs to; `controls` writes such steps."""

    @property
    def seed_name(self) -> str:
        """Its randomness is drawn by this: a control's steps have the first weights and draws of those they are compared with."""
        return self.name.removeprefix(f"{self.control}-")

    @model_validator(mode="after")
    def _has_one_to_keep(self) -> Self:
        if self.keep_better and self.start != "teacher":
            raise ValueError("keep_better needs start: teacher; a fresh network has no teacher to keep")
        return self


class LearningConfig(StableDump):
    """All that learning needs to know of a campaign; `launch` adds where slides come from and where jobs run."""

    added_later: ClassVar = ("controls",)

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\x00]+$")]
    """Name of the run folder under `runs`."""
    seed: int = 0
    training_classes: dict[str, Literal[0, 1, 2, 255]]
    """Fine class -> 0 background/normal, 1 tumour, 2 others, 255 ignored."""
    policies: dict[str, PolicyConfig] = {}
    """Augmentation policies by name, for steps and for each other (configs/augment)."""
    steps: Annotated[tuple[StepConfig, ...], Field(min_length=1)]
    train: TrainConfig = TrainConfig()
    loss: LossConfig = LossConfig()
    style: StyleConfig = StyleConfig()
    """Settings of the generators and styled shards that gan_style reads."""
    evaluate: EvaluateConfig = EvaluateConfig()
    checks: CheckConfig = CheckConfig()
    controls: tuple[ControlName, ...] = ()
    """Ladders beside the campaign's own that show what its rounds of labels are worth. human-only: the same steps, tuning and
    validation on people's labels alone."""
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _evaluated_steps_exist(self) -> Self:
        names = [step.name for step in self.steps]
        unknown = [name for name in self.evaluate.steps or () if name not in names]
        if unknown:
            raise ValueError(f"evaluate.steps names {unknown[0]!r}; there are {', '.join(names)}")
        return self

    @classmethod
    def spelled_out(cls, raw: Any, where: Path | str) -> Any:
        return with_controls(named(raw, where))

    @model_validator(mode="after")
    def _gpu_has_every_op(self) -> Self:
        for step in self.steps:
            lacking = cpu_only(step.augment) if self.train.augment_on == "gpu" else []
            if lacking:
                raise ValueError(
                    f"train.augment_on: gpu: DALI cannot do {', '.join(lacking)} of steps.{step.name}; set it to cpu"
                )
        return self

    @model_validator(mode="after")
    def _equal_steps(self) -> Self:
        if self.controls and self.train.epoch_draws is None:
            raise ValueError(
                "controls need train.epoch_draws: else a control, which draws from fewer pairs, gets fewer steps"
            )
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("controls names one of them twice")
        return self

    @property
    def own_steps(self) -> tuple[StepConfig, ...]:
        """The campaign's own ladder, without its controls'."""
        return tuple(step for step in self.steps if not step.control)

    def step_before(self, index: int) -> int | None:
        """Index of the step whose teacher comes before this one; None for the first."""
        return step_before(self.steps, index)

    def round_of(self, index: int) -> int | None:
        """Number of the round of labels that a step learns from, from 1; None for one that learns from people alone."""
        return round_of(self.steps, index)
