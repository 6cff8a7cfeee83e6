"""What a kind of phase says of itself: what it depends on, what it publishes, which resources it gets, and its work.

A kind imports its functions only when its job runs, so that planning and the slides and shards jobs never load torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol

from launch.config import CampaignConfig
from launch.graph import Phase
from launch.resources.blocks import Block, ClusterConfig
from launch.run_folder import RunFolder
from mlseg_core.exactly_once.run import Describe, Unit, Work


class Control(Protocol):
    """What a phase's work asks of the process that it runs in."""

    def __call__(self) -> bool:
        """True once the work has to stop at its next safe point."""
        ...

    def give_up(self, why: str) -> NoReturn:
        """End this process at once, from any thread: a rank hangs, and waiting will not help."""
        ...


class Kind(ABC):
    """block: of the cluster's resources.  on_gpu: its work runs on the GPUs that the job asks for, not on the CPU beside them.

    recipe_version: part of every fingerprint. earlier_recipes: versions whose results stay valid where a run has them; new ones are
    made under recipe_version, or by the run's frozen code under the one that it knows.
    """

    block: ClassVar[Block]
    on_gpu: ClassVar[bool] = False
    recipe_version: ClassVar[int] = 1
    earlier_recipes: ClassVar[tuple[int, ...]] = ()

    @abstractmethod
    def concerns(self, config: CampaignConfig, phase: Phase) -> Any:
        """The part of the config that decides the phase's results, as plain JSON values."""

    @abstractmethod
    def manifest(self, run: RunFolder, phase: Phase) -> Path:
        """The file that the phase publishes last; its hash stands for all outputs."""

    def outputs(self, run: RunFolder, phase: Phase) -> tuple[Path, ...]:
        """What is set aside, beside the phase's own folder, when the phase is no longer valid."""
        return ()

    def block_in(self, cluster: ClusterConfig) -> Block:
        """The block of resources that its jobs get there."""
        return self.block


@dataclass(frozen=True)
class MapWork:
    """A map over units: its work, and what turns the finished units into the published manifest.

    publish: proves that all is done first; raises map.Incomplete.  unit, piece: what progress counts.
    goes_on: units that failed do not fail the phase; publish decides.
    prepare: what all units need of a worker's process, before it takes the first: what fails here fails no unit.
    """

    units: Sequence[Unit]
    work: Work
    describe: Describe | None
    publish: Callable[[], Any]
    unit: str
    piece: str = "pieces"
    goes_on: bool = False
    prepare: Callable[[], None] = lambda: None


class MapKind(Kind):
    """Many units, any number of workers, then one merge, which gets the resources of `small`."""

    @abstractmethod
    def folder(self, run: RunFolder, phase: Phase) -> Path:
        """Where the units' outputs go."""

    @abstractmethod
    def map_work(self, config: CampaignConfig, run: RunFolder, phase: Phase) -> MapWork:
        """The work to do. Raises UserError."""

    def outputs(self, run: RunFolder, phase: Phase) -> tuple[Path, ...]:
        return (self.folder(run, phase),)


class WholeKind(Kind):
    """One job that does the phase from start to end, on every rank."""

    @abstractmethod
    def work(self, config: CampaignConfig, run: RunFolder, phase: Phase, control: Control) -> None:
        """Do it, or continue it. Raises Interrupted at a safe point once control() is true, UserError."""
