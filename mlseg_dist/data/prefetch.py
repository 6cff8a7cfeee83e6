"""The one read-ahead: threads prepare the next batches while the network computes this one.

An item (the number of a micro-batch, rows of a shard, regions of a slide) begins as Work: the batch, which may hold memory that
is to be filled, and one task for each of its parts. A pool of threads runs the tasks; reading, decoding and OpenCV release the
interpreter. Training, validation, labelling, styling, evaluation and prediction read through this, each with its own Work.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

import torch

from mlseg_core.node import number_in

Item = TypeVar("Item")
Batch = TypeVar("Batch")
TaskResult = TypeVar("TaskResult")
Result = TypeVar("Result")

Workers = int | Literal["auto"]
MOST_THREADS = 16
"""Most threads of a rank whose workers are `auto`: more would mostly wait for the interpreter, which one runs at a time."""


def threads_for(workers: Workers) -> int:
    """How many threads read for this process. auto: one for each CPU that it may use.

    SLURM says how many CPUs it granted to a task. Elsewhere the processes of a node share evenly those that they may run on.
    """
    if workers != "auto":
        return max(1, workers)
    cpus = len(os.sched_getaffinity(0))
    granted = number_in(os.environ, "SLURM_CPUS_PER_TASK")
    ranks = number_in(os.environ, "LOCAL_WORLD_SIZE") or 1
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_TASKS_PER_NODE")
    if granted and tasks == "1":  # its ranks share them where torchrun has started them
        granted = max(1, granted // ranks)
    mine = min(cpus, granted) if granted else cpus // ranks
    return min(max(1, mine), MOST_THREADS)


def batch_memory(pinned: bool, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Uninitialised uint8 tensors, by name. pinned: for a GPU, which then copies from them while the CPU goes on.

    Pinned memory comes from torch's own pool and returns there once no tensor refers to it and no copy from it is under way
    (torch records an event for each), so that a steady stream of batches pins memory only at its start.
    """
    return {name: torch.empty(shape, dtype=torch.uint8, pin_memory=pinned) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Work(Generic[Batch, TaskResult]):
    """A batch and the tasks that prepare its parts, in any order and at the same time."""

    batch: Batch
    tasks: Sequence[Callable[[], TaskResult]]


class UnderWay(Generic[Item, Batch, TaskResult]):
    """A batch whose parts are being prepared."""

    def __init__(self, item: Item, batch: Batch, parts: list[Future[TaskResult]]) -> None:
        self.item, self.batch, self._parts = item, batch, parts

    def wait(self) -> list[TaskResult]:
        """What its tasks returned, in their order. Raises what the first of them that failed raised."""
        return [part.result() for part in self._parts]

    @property
    def ready(self) -> bool:
        """All tasks have ended well."""
        return all(part.done() and not part.cancelled() and part.exception() is None for part in self._parts)

    def cancel(self) -> None:
        """Tasks that have not begun never do."""
        for part in self._parts:
            part.cancel()


class ReadAhead(Iterator[tuple[Batch, list[TaskResult]]], Generic[Item, Batch, TaskResult]):
    """Batches of `items` in order, each with what its tasks returned. Leave its `with` block to stop its threads.

    begin: an item's Work; called in the reader's thread, perhaps several times for one item.
    ahead: batches that are prepared while one is used; while the next one is waited for, one more.
    before: called with this object before the next batch is waited for: it may look at what is under way, or start it again.
    name: of the threads. What a task raises is raised where its batch would have come.
    """

    def __init__(
        self,
        items: Iterable[Item],
        begin: Callable[[Item], Work[Batch, TaskResult]],
        threads: int,
        ahead: int = 2,
        before: "Callable[[ReadAhead[Item, Batch, TaskResult]], None] | None" = None,
        name: str = "read-ahead",
    ) -> None:
        self._items, self._begin, self._ahead, self._before = iter(items), begin, ahead, before
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix=name)
        self.under_way: deque[UnderWay[Item, Batch, TaskResult]] = deque()
        """The next batch first."""
        self.wait_s = 0.0
        """Seconds that the last batch was waited for, the time of `before` included."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what has not begun, wait for the tasks that run, end the threads."""
        self.under_way.clear()
        self._pool.shutdown(cancel_futures=True)

    def __next__(self) -> tuple[Batch, list[TaskResult]]:
        while len(self.under_way) <= self._ahead:
            try:
                item = next(self._items)
            except StopIteration:
                break
            self.under_way.append(self._started(item))
        if not self.under_way:
            raise StopIteration
        begun = time.perf_counter()
        if self._before is not None:
            self._before(self)
        parts = self.under_way[0].wait()
        self.wait_s = time.perf_counter() - begun
        return self.under_way.popleft().batch, parts

    @property
    def batches(self) -> Iterator[Batch]:
        """Those under way, the next one first."""
        return (coming.batch for coming in self.under_way)

    def start_again(self) -> None:
        """Begin anew all that is under way. Tasks that run already end by themselves; only their own batch knows of them."""
        items = [coming.item for coming in self.under_way]
        for coming in self.under_way:
            coming.cancel()
        self.under_way.clear()
        self.under_way.extend(self._started(item) for item in items)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Run what follows on a batch, such as encoding its results, in the same threads."""
        return self._pool.submit(function, *arguments)

    def _started(self, item: Item) -> UnderWay[Item, Batch, TaskResult]:
        work = self._begin(item)
        return UnderWay(item, work.batch, [self._pool.submit(task) for task in work.tasks])
