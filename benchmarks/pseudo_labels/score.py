"""Counts of one round of pseudo-labels against the truth, and the figures that follow from them. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.labels import LEVELS, VIEWS, Accepting, ViewName

Group = Literal["known", "other"]
GROUPS: tuple[Group, ...] = ("known", "other")
"""Slides of a lab and scanner of which people annotated a train slide; all others."""
COUNT = len(CLASSES)
NOTHING = COUNT * LEVELS
"""Column of the pixels of which the round says nothing."""
CODES = NOTHING + 1
VERSION = 2


@dataclass(frozen=True)
class Figures:
    """Pixels of one class. accepted: as it; right: of these; truth: that are of it; taken: of these, accepted as whatever."""

    accepted: int
    right: int
    truth: int
    taken: int

    @property
    def precision(self) -> float | None:
        return self.right / self.accepted if self.accepted else None

    @property
    def recall(self) -> float | None:
        return self.right / self.truth if self.truth else None

    @property
    def share_taken(self) -> float | None:
        return self.taken / self.truth if self.truth else None

    def to_json(self) -> dict[str, int | float | None]:
        counts = {"accepted": self.accepted, "right": self.right, "truth": self.truth, "taken": self.taken}
        return {**counts, "precision": self.precision, "recall": self.recall, "share_taken": self.share_taken}


@dataclass(frozen=True)
class RoundScore:
    """What a round says of the pixels that nobody labelled and whose true class is a training class.

    Each pixel of a slide counts once, as the pair with the nearest centre has it, and of these every stride-th in both
    directions (the middle of a label's cell).

    counts: int64 (fine classes, CODES): true fine class, code of the round (labels.py; the last: nothing said). drawn: pairs whose
    seed nobody annotated, int64 (4, 4): true class at the centre, class for which they are drawn; the last of both is none.
    pool: all pairs that a step which learns from people and this round can draw, by the class for which they are, int64 (3,).
    expected: what the round's own measurement on val expected of its thresholds (labelling/thresholds.py); None: not measured.
    expected_at: view -> class -> the precision that it expected from each level on.
    """

    round: int
    teacher: str
    stride: int
    accepting: Accepting
    fine: tuple[str, ...]
    training: tuple[int, ...]
    counts: dict[ViewName, dict[Group, np.ndarray]]
    drawn: dict[Group, np.ndarray]
    pool: dict[Group, np.ndarray]
    expected: dict[str, Any] | None = None
    expected_at: dict[str, dict[str, list[float | None]]] | None = None

    def said(self, view: ViewName, group: Group | None = None) -> np.ndarray:
        """Counts of a group, or of all: int64 (fine classes, CODES)."""
        found = self.counts[view]
        return found[group] if group is not None else found["known"] + found["other"]

    def accepted_fine(
        self, view: ViewName, group: Group | None = None, accepting: Accepting | None = None
    ) -> np.ndarray:
        """Accepted pixels, int64 (fine classes, 3): true fine class, class said. accepting: instead of the round's own."""
        levels = (accepting or self.accepting).levels(view)
        by_level = self.said(view, group)[:, :NOTHING].reshape(-1, COUNT, LEVELS)
        return np.stack([by_level[:, number, level:].sum(-1) for number, level in enumerate(levels)], axis=1)

    def confusion(self, view: ViewName, group: Group | None = None, accepting: Accepting | None = None) -> np.ndarray:
        """Accepted pixels, int64 (3, 3): true class, class said."""
        return self._by_class(self.accepted_fine(view, group, accepting))

    def truth(self, view: ViewName, group: Group | None = None) -> np.ndarray:
        """Pixels of each true class, accepted or not, int64 (3,)."""
        return self._by_class(self.said(view, group).sum(-1))

    def figures(
        self, view: ViewName, group: Group | None = None, accepting: Accepting | None = None
    ) -> dict[str, Figures]:
        """By class."""
        confusion, truth = self.confusion(view, group, accepting), self.truth(view, group)
        return {
            name: Figures(int(confusion[:, c].sum()), int(confusion[c, c]), int(truth[c]), int(confusion[c].sum()))
            for c, name in enumerate(CLASSES)
        }

    def mistaken_for(self, view: ViewName, name: str, group: Group | None = None) -> dict[str, int]:
        """What the pixels wrongly accepted as a class are: fine class -> pixels, most first."""
        number = CLASSES.index(name)
        column = self.accepted_fine(view, group)[:, number]
        wrong = {fine: int(column[i]) for i, fine in enumerate(self.fine) if column[i] and self.training[i] != number}
        return dict(sorted(wrong.items(), key=lambda item: -item[1]))

    def at_each_level(self, view: ViewName, group: Group | None = None) -> np.ndarray:
        """Confusions of what is accepted from each level on (level / 20 is the threshold), int64 (21, 3, 3)."""
        by_level = self._by_class(self.said(view, group)[:, :NOTHING]).reshape(COUNT, COUNT, LEVELS)
        return by_level[..., ::-1].cumsum(-1)[..., ::-1].transpose(2, 0, 1)

    def pairs_drawn(self, group: Group | None = None) -> np.ndarray:
        """As `drawn`, of a group or of all."""
        return self.drawn[group] if group is not None else self.drawn["known"] + self.drawn["other"]

    def _by_class(self, by_fine: np.ndarray) -> np.ndarray:
        """(fine classes, …) -> (3, …)."""
        out = np.zeros((COUNT, *by_fine.shape[1:]), np.int64)
        for row, number in zip(by_fine, self.training, strict=True):
            if number != IGNORED:
                out[number] += row
        return out

    def to_json(self) -> dict[str, Any]:
        """Everything; `views` follows from `counts`, and is there to be read."""
        return {
            "version": VERSION,
            "round": self.round,
            "teacher": self.teacher,
            "stride": self.stride,
            "accepting": self.accepting.to_json(),
            "views": {view: self._view_json(view) for view in VIEWS},
            "expected": self.expected,
            "expected_precision_from_level": self.expected_at,
            "drawn": {group: self.drawn[group].tolist() for group in GROUPS},
            "pool": {group: self.pool[group].tolist() for group in GROUPS},
            "fine": list(self.fine),
            "training": list(self.training),
            "counts": {view: {group: self.counts[view][group].tolist() for group in GROUPS} for view in VIEWS},
        }

    def _view_json(self, view: ViewName) -> dict[str, Any]:
        groups: dict[str, Group | None] = {"all": None, "known": "known", "other": "other"}
        found: dict[str, Any] = {
            name: {
                "classes": {c: figures.to_json() for c, figures in self.figures(view, group).items()},
                "confusion": self.confusion(view, group).tolist(),
            }
            for name, group in groups.items()
        }
        wrong = {name: self.mistaken_for(view, name) for name in CLASSES}
        return {**found, "mistaken_for": wrong, "confusion_from_level": self.at_each_level(view).tolist()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        return cls(
            found["round"],
            found["teacher"],
            found["stride"],
            Accepting.from_json(found["accepting"]),
            tuple(found["fine"]),
            tuple(found["training"]),
            {view: {group: np.array(found["counts"][view][group], np.int64) for group in GROUPS} for view in VIEWS},
            {group: np.array(found["drawn"][group], np.int64) for group in GROUPS},
            {group: np.array(found["pool"][group], np.int64) for group in GROUPS},
            found["expected"],
            found["expected_precision_from_level"],
        )


def compact(scores: Sequence[RoundScore]) -> list[dict[str, Any]]:
    """A few figures of each round, small enough for a sweep's row: view -> class -> [accepted, right, truth], px."""
    return [
        {
            "round": score.round,
            "teacher": score.teacher,
            "stride": score.stride,
            **{
                view: {name: [f.accepted, f.right, f.truth] for name, f in score.figures(view).items()}
                for view in VIEWS
            },
        }
        for score in scores
    ]
