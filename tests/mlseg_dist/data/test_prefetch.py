"""The read-ahead by itself: order, bounds, errors, closing, starting again, and memory that nobody overwrites."""

import random
import threading
import time
import weakref
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch

from mlseg_dist.data.prefetch import MOST_THREADS, ReadAhead, Work, batch_memory, threads_for

PARTS = 4
NAME = "prefetch-test"


class Held:
    """What a batch is held by; it can be watched by a weak reference."""

    def __init__(self, number: int) -> None:
        self.number = number


def reading(numbers, part, *, threads=3, ahead=2, before=None):
    """A read-ahead whose parts are part(batch, position)."""

    def begin(number: int) -> Work[Held, object]:
        held = Held(number)
        return Work(held, [partial(part, held, position) for position in range(PARTS)])

    return ReadAhead(numbers, begin, threads, ahead, before, NAME)


def until_ready(ahead) -> None:
    """Wait until all that is under way is prepared."""
    deadline = time.monotonic() + 10
    while not all(coming.ready for coming in ahead.under_way):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def living_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(NAME)]


def test_batches_and_their_parts_come_in_order_however_long_each_takes():
    waits = random.Random(3)

    def part(held: Held, position: int) -> tuple[int, int]:
        time.sleep(waits.random() * 0.005)
        return held.number, position

    with reading(range(20), part) as ahead:
        found = [(held.number, parts) for held, parts in ahead]
    assert found == [(number, [(number, i) for i in range(PARTS)]) for number in range(20)]
    assert not living_threads()


@pytest.mark.parametrize("ahead", [1, 3])
def test_only_so_many_batches_are_alive(ahead):
    """However long the reader of a batch takes: those ahead, the next one, and the one in use."""
    alive: weakref.WeakSet[Held] = weakref.WeakSet()
    most = [0]

    def part(held: Held, position: int) -> None:
        alive.add(held)
        most[0] = max(most[0], len(alive))

    with reading(range(30), part, ahead=ahead) as batches:
        for number, _ in enumerate(batches):
            if number % 5 == 0:
                until_ready(batches)
                assert len(batches.under_way) == min(ahead, 29 - number)
    assert ahead + 1 <= most[0] <= ahead + 2


def test_an_error_of_a_thread_comes_where_its_batch_would_have_come():
    def part(held: Held, position: int) -> int:
        if held.number == 2 and position == 1:
            raise ValueError("the third batch is damaged")
        return held.number

    found = []
    with pytest.raises(ValueError, match="the third batch"), reading(count(), part) as ahead:
        for held, _ in ahead:
            time.sleep(0.02)  # the third batch has failed by now, and nobody hears of it yet
            found.append(held.number)
    assert found == [0, 1] and not living_threads()


def test_closing_early_cancels_what_has_not_begun_and_leaves_no_thread():
    begun, gate, two = [], threading.Event(), threading.Semaphore(0)

    def part(held: Held, position: int) -> None:
        begun.append((held.number, position))
        if held.number > 0:
            two.release()
            gate.wait(10)

    ahead = reading(count(), part, threads=2, ahead=3)
    next(ahead)
    assert two.acquire(timeout=10) and two.acquire(timeout=10)
    threading.Timer(0.05, gate.set).start()
    ahead.close()
    assert not living_threads() and len(begun) == PARTS + 2, begun
    time.sleep(0.05)
    assert len(begun) == PARTS + 2


def test_what_is_under_way_starts_again_when_the_reader_says_so():
    """Each batch holds the setting that it was begun with; after the change none of the old ones comes, and no number is lost."""
    setting = ["old"]

    def begin(number: int) -> Work[tuple[int, str], str]:
        now = setting[0]
        return Work((number, now), [partial(str, now)] * PARTS)

    def before(ahead: ReadAhead[int, tuple[int, str], str]) -> None:
        if any(batch[1] != setting[0] for batch in ahead.batches):
            ahead.start_again()

    found = []
    with ReadAhead(range(10), begin, 2, 3, before, NAME) as ahead:
        for batch, parts in ahead:
            assert set(parts) == {batch[1]}
            found.append(batch)
            if batch[0] == 4:
                setting[0] = "new"
    assert found == [(number, "old" if number <= 4 else "new") for number in range(10)]


def test_a_batch_in_use_is_never_overwritten():
    """Batches that are still held keep their bytes, those begun again while their old tasks run included."""
    versions = count(1)

    def begin(number: int) -> Work[tuple[int, int, torch.Tensor], None]:
        value = next(versions) % 251
        rows = batch_memory(False, image=(PARTS, 64, 64, 3))["image"]
        return Work((number, value, rows), [partial(fill, rows.numpy(), i, value) for i in range(PARTS)])

    def fill(rows: np.ndarray, position: int, value: int) -> None:
        time.sleep(0.001 * (position % 2))
        rows[position] = value

    def before(ahead: ReadAhead[int, tuple[int, int, torch.Tensor], None]) -> None:
        if waits.random() < 0.3:
            ahead.start_again()

    waits, held = random.Random(1), []
    with ReadAhead(range(40), begin, 3, 2, before, NAME) as ahead:
        for (number, value, rows), _ in ahead:
            assert (rows == value).all()
            if number % 3 == 0:
                held.append((value, rows))
    assert len(held) == 14 and all((rows == value).all() for value, rows in held)


def test_what_follows_on_a_batch_runs_in_the_same_threads():
    with reading(range(3), lambda held, position: position) as ahead:
        later = [ahead.submit(lambda: threading.current_thread().name) for _ in ahead]
        assert all(future.result().startswith(NAME) for future in later)


def test_waiting_is_measured():
    gate = threading.Event()

    def part(held: Held, position: int) -> None:
        gate.wait(10)

    with reading(range(2), part) as ahead:
        threading.Timer(0.05, gate.set).start()
        next(ahead)
        assert ahead.wait_s > 0.03
        until_ready(ahead)
        next(ahead)
        assert ahead.wait_s < 0.03


@pytest.mark.parametrize(
    ("workers", "cpus", "variables", "threads"),
    [
        (4, 2, {}, 4),  # a number stays
        (0, 2, {}, 1),
        ("auto", 2, {}, 2),
        ("auto", 16, {"LOCAL_WORLD_SIZE": "4"}, 4),  # a node's ranks share it
        (
            "auto",
            64,
            {"LOCAL_WORLD_SIZE": "8", "SLURM_CPUS_PER_TASK": "12"},
            12,
        ),  # not bound to its CPUs, but granted 12
        ("auto", 12, {"LOCAL_WORLD_SIZE": "8", "SLURM_CPUS_PER_TASK": "12"}, 12),  # bound
        ("auto", 3, {"LOCAL_WORLD_SIZE": "8"}, 1),
        ("auto", 128, {}, MOST_THREADS),
        # torchrun with four ranks in SLURM's one task; then what SLURM may say that is no number
        ("auto", 64, {"LOCAL_WORLD_SIZE": "4", "SLURM_CPUS_PER_TASK": "16", "SLURM_TASKS_PER_NODE": "1"}, 4),
        ("auto", 8, {"SLURM_CPUS_PER_TASK": "2(x3)"}, 8),
        ("auto", 8, {"LOCAL_WORLD_SIZE": "", "SLURM_CPUS_PER_TASK": ""}, 8),
        ("auto", 8, {"LOCAL_WORLD_SIZE": "0"}, 8),
    ],
)
def test_threads_of_a_rank(monkeypatch, workers, cpus, variables, threads):
    for name in ("LOCAL_WORLD_SIZE", "SLURM_CPUS_PER_TASK", "SLURM_TASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cpus)))
    assert threads_for(workers) == threads


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device; where there is one: make gpu")
def test_on_a_gpu_memory_is_pinned_and_no_copy_under_way_loses_it():
    """The device is kept busy, so that copies wait; memory that is let go meanwhile must not be filled anew."""

    def begin(number: int) -> Work[tuple[int, torch.Tensor], None]:
        rows = batch_memory(True, image=(PARTS, 512, 512, 3))["image"]
        assert rows.is_pinned()
        return Work((number, rows), [partial(fill, rows.numpy(), i, number) for i in range(PARTS)])

    def fill(rows: np.ndarray, position: int, value: int) -> None:
        rows[position] = value

    busy = torch.randn(4096, 4096, device="cuda")
    copies = []
    with ReadAhead(range(60), begin, 3, 2, name=NAME) as ahead:
        for (number, rows), _ in ahead:
            for _ in range(4):
                busy = busy @ busy * 1e-4
            copies.append((number, rows.to("cuda", non_blocking=True)))
            del rows
    assert all(bool((copy == number).all()) for number, copy in copies)
