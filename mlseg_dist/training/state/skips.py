"""Steps whose gradient is not finite: the engine skips them on all ranks together; here they are counted, and when there are
too many in a row, training goes back to the checkpoint before them and leaves their draws out.

A step's draws are those of its *attempt*: attempt a is the micro-batches a * n ... a * n + n - 1 of the order. Without anything
left out, step s takes attempt s; each attempt that is left out moves the later steps on by one.
"""

from typing import Any

import torch


class Skips:
    """most: steps in a row that may be skipped. Looks happen at the same steps in every run, on every rank."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._unseen: list[tuple[int, torch.Tensor]] = []
        self.in_a_row: list[int] = []
        """The latest steps looked at, as far as they were skipped without a break."""
        self.left_out: list[int] = []
        """Attempts whose draws are not taken."""
        self.total = 0
        self.rollbacks = 0

    def attempt(self, step: int) -> int:
        """Whose draws a step takes."""
        for left_out in sorted(self.left_out):
            if left_out > step:
                break
            step += 1
        return step

    def add(self, step: int, finite: torch.Tensor) -> None:
        """finite: bool on the device, whether the step was taken. Does not wait for it."""
        self._unseen.append((step, finite))

    def look(self) -> list[int]:
        """The steps skipped since the last look. Waits for the device."""
        if not self._unseen:
            return []
        taken = torch.stack([finite for _, finite in self._unseen]).tolist()
        skipped = []
        for (step, _), good in zip(self._unseen, taken, strict=True):
            if not good:
                skipped.append(step)
                self.in_a_row.append(step)
            elif not self.too_many:
                self.in_a_row = []
        self._unseen = []
        self.total += len(skipped)
        return skipped

    @property
    def too_many(self) -> bool:
        return len(self.in_a_row) >= self._most

    def go_back(self) -> int:
        """Leave out the draws of the first skipped steps of the row. Returns the first: a checkpoint of so many steps or fewer
        is the one to go back to. However late somebody looked, the same draws are left out."""
        first = self.in_a_row[0]
        self.left_out = sorted([*self.left_out, *(self.attempt(step) for step in self.in_a_row[: self._most])])
        self.rollbacks += 1
        self.in_a_row, self._unseen = [], []
        return first

    def record(self) -> dict[str, Any]:
        """For the cursor; look() first."""
        return {
            "in_a_row": self.in_a_row,
            "left_out": self.left_out,
            "total": self.total,
            "rollbacks": self.rollbacks,
        }

    def load(self, record: dict[str, Any]) -> None:
        """What record() gave."""
        self.in_a_row, self.left_out = list(record["in_a_row"]), list(record["left_out"])
        self.total, self.rollbacks = record["total"], record["rollbacks"]
        self._unseen = []
