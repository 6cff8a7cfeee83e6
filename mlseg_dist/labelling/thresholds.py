"""A teacher's reliability in; which of its labels are accepted, and what is to be expected of them, out. Pure numpy.

The validation split's labelled regions were chosen by people, so its classes are as common as they like; in tissue that nobody
chose the rare ones are rarer, and of what is called so more is wrong. So precision is worked out for the tissue's own shares of
classes, which are estimated from how the teacher's answers are distributed there (Saerens et al. 2002; Lipton et al. 2018): the
mixture of the answers to each true class that explains them best, by expectation maximisation.
"""

from dataclasses import dataclass

import numpy as np

from mlseg_dist.config import CLASSES, LabelConfig
from mlseg_dist.data import labels
from mlseg_dist.data.labels import NEVER, VIEWS, Accepting, ViewName
from mlseg_dist.labelling.reliability import Reliability

_ROUNDS = 500
_FEWEST_PX = 50
"""Pixels of a class that have to be accepted on the validation split before its precision is believed."""


@dataclass(frozen=True)
class Expected:
    """What a round is expected to hold. shares: of the classes in unannotated tissue. None where there is nothing to say.

    precision, recall: view -> class -> of the accepted pixels the part that is right, of the class' pixels the part accepted.
    """

    shares: dict[str, float] | None
    precision: dict[ViewName, dict[str, float | None]]
    recall: dict[ViewName, dict[str, float | None]]


def choose(settings: LabelConfig, found: Reliability) -> Accepting:
    """`fixed`: the thresholds of the config. `precision`: for each view and class the least one, from `threshold` on, at which what
    is accepted is expected to be right as often as `precision` asks; a class that never is, is not accepted."""
    if settings.choose == "fixed":
        return Accepting.from_settings(settings)
    prior = shares_of_tissue(found)
    least = Accepting.from_settings(settings)
    chosen = []
    for view in VIEWS:
        counts = found.val[view]
        levels = []
        for number in range(len(CLASSES)):
            good = [
                level
                for level in range(least.levels(view)[number], labels.LEVELS)
                if counts[:, number, level:].sum() >= _FEWEST_PX
                and (precision_at(counts, prior, number, level) or 0.0) >= settings.precision
            ]
            levels.append(min(good, default=NEVER))
        chosen.append(tuple(levels))
    return Accepting(*chosen)


@dataclass(frozen=True)
class Harm:
    """A class of which a round would teach the wrong thing. why: in words."""

    view: ViewName
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} in the {self.view} view {self.why}"


def settle(settings: LabelConfig, found: Reliability) -> tuple[Accepting, list[Harm]]:
    """What is accepted, and which classes would do harm; with `on_harm: leave-out` these are not accepted."""
    accepting = choose(settings, found)
    harms = harms_of(settings, accepting, found)
    if settings.on_harm == "leave-out" and harms:
        harmful = {(harm.view, harm.name) for harm in harms}
        accepting = Accepting(
            *(
                tuple(
                    NEVER if (view, name) in harmful else level
                    for name, level in zip(CLASSES, accepting.levels(view), strict=True)
                )
                for view in VIEWS
            )
        )
    return accepting, harms


def harms_of(settings: LabelConfig, accepting: Accepting, found: Reliability) -> list[Harm]:
    """Classes that are expected to be wrong too often, or that take up more of what is accepted than there can be."""
    what, harms = expected(accepting, found), []
    for view in VIEWS:
        for number, name in enumerate(CLASSES):
            precision = what.precision[view][name]
            if precision is not None and precision < settings.min_precision:
                harms.append(
                    Harm(view, name, f"is expected to be right in {precision:.2f}, not {settings.min_precision:g}")
                )
                continue
            share = _accepted_share(accepting, found, view, number)
            most = settings.max_share_grown
            if most is not None and what.shares and share is not None and share > most * what.shares[name]:
                why = (
                    f"makes up {share:.1%} of what is accepted, and an estimated {what.shares[name]:.1%} of the tissue"
                )
                harms.append(Harm(view, name, why))
    return harms


def _accepted_share(accepting: Accepting, found: Reliability, view: ViewName, number: int) -> float | None:
    """Share of those called `number` among the accepted pixels of unannotated tissue."""
    levels = accepting.levels(view)
    accepted = [found.tissue[view][c, levels[c] :].sum() for c in range(len(CLASSES))]
    return float(accepted[number] / sum(accepted)) if sum(accepted) else None


def expected(accepting: Accepting, found: Reliability) -> Expected:
    """What the validation split says of a choice."""
    prior = shares_of_tissue(found)
    precision: dict[ViewName, dict[str, float | None]] = {}
    recall: dict[ViewName, dict[str, float | None]] = {}
    for view in VIEWS:
        counts, levels = found.val[view], accepting.levels(view)
        precision[view] = {n: precision_at(counts, prior, c, levels[c]) for c, n in enumerate(CLASSES)}
        recall[view] = {n: _recall_at(counts, c, levels[c]) for c, n in enumerate(CLASSES)}
    shares = None if prior is None else dict(zip(CLASSES, prior.tolist(), strict=True))
    return Expected(shares, precision, recall)


def precision_at(counts: np.ndarray, prior: np.ndarray | None, number: int, level: int) -> float | None:
    """Share that is right among the pixels called `number` from `level` on, where classes are as common as `prior` says.

    counts: (true, said, level). None: as common as in the counts. Returns None when nothing is accepted.
    """
    accepted = counts[:, number, level:].sum(axis=-1).astype(float)
    if prior is not None:
        totals = counts.sum(axis=(1, 2))
        accepted = np.divide(prior * accepted, totals, out=np.zeros_like(accepted), where=totals > 0)
    whole = accepted.sum()
    return float(accepted[number] / whole) if whole > 0 else None


def _recall_at(counts: np.ndarray, number: int, level: int) -> float | None:
    total = counts[number].sum()
    return float(counts[number, number, level:].sum() / total) if total else None


def shares_of_tissue(found: Reliability) -> np.ndarray | None:
    """Parts of the training classes in unannotated tissue, (3,), from the high view, or the low one where it says nothing.

    None when there is no such tissue, or a class that the validation split does not have.
    """
    for view in VIEWS:
        answers, seen = found.val[view], found.tissue[view]
        if seen.sum() and (answers.sum(axis=(1, 2)) > 0).all():
            return mixture(answers.reshape(len(CLASSES), -1), seen.ravel())
    return None


def mixture(of_each: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Weights (classes,) of the rows of `of_each` (classes, answers) whose mixture explains the counts `seen` (answers,) best."""
    rows = of_each + 0.5  # an answer that was never met is rare, not impossible
    rows = rows / rows.sum(axis=1, keepdims=True)
    weights = np.full(len(rows), 1 / len(rows))
    for _ in range(_ROUNDS):
        parts = weights[:, None] * rows
        weights = (parts / parts.sum(axis=0) * seen).sum(axis=1) / seen.sum()
    return weights
