"""The scored slides of one split at one step: SlideCounts in, arrays by slide and by patient out, decided at the threshold."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlseg_dist.evaluation.figures import by_training_class, called, one_against_rest
from mlseg_dist.evaluation.operating_point import leave_one_out
from mlseg_dist.evaluation.slide_counts import SlideCounts

FROM_VALIDATION = "validation"
"""Source of an operating point that was chosen on the val split's patients."""

Counts = Mapping[tuple[str, str], SlideCounts]
Facts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Cohort:
    """Slides with at least one counted cell, sorted by slug, and their patients, sorted by name; F fine classes.

    of_patient: (S,) each slide's place among patients. called: int64 (S, F, 3). By patient: surface int64 (P, 3, 4), histograms
    of each class against the rest int64 (P, 3, 2, 1001). log_odds: int64 (3, 81, 81) of all together.
    class_of: (F,) training class of each fine class, or IGNORED. unanswered: slug -> cells without an answer, of all slides that
    were taken in, with counted cells or without.
    """

    slugs: list[str]
    patients: list[str]
    of_patient: np.ndarray
    called: np.ndarray
    surface: np.ndarray
    histograms: np.ndarray
    log_odds: np.ndarray
    class_of: np.ndarray
    unanswered: dict[str, int]

    @cached_property
    def confusions(self) -> np.ndarray:
        """Confusion matrix of each slide, int64 (S, 3, 3)."""
        return np.moveaxis(by_training_class(np.moveaxis(self.called, 1, 0), self.class_of), 0, 1)

    @cached_property
    def by_slug(self) -> dict[str, np.ndarray]:
        """Slug -> its confusion matrix."""
        return dict(zip(self.slugs, self.confusions, strict=True))

    def by_patient(self, values: np.ndarray) -> np.ndarray:
        """Sums of slides' values (S, …) over each patient's slides, (P, …)."""
        return sums_by(self.of_patient, values, len(self.patients))


def by_name(of_each: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """The names that occur, sorted, and each one's place among them."""
    names, places = np.unique(np.array(list(of_each), object), return_inverse=True)
    return names.tolist(), places.astype(int)


def sums_by(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums of (S, …) within each group, (count, …). groups: (S,) 0 … count - 1."""
    out = np.zeros((count, *values.shape[1:]), values.dtype)
    np.add.at(out, groups, values)
    return out


def read_cohort(
    slugs: Sequence[str],
    of_slide: Callable[[str], SlideCounts],
    facts: Facts,
    class_of: np.ndarray,
    threshold_of: Callable[[str], float],
) -> Cohort:
    """Take in the given slides one by one, each once; a few kilobytes of a slide and 50 of a patient are kept.

    threshold_of: patient -> threshold at which its slides are decided.
    """
    kept, decided, unanswered = [], [], {}
    log_odds = np.zeros_like(SlideCounts().log_odds)
    surface: dict[str, np.ndarray] = {}
    histograms: dict[str, np.ndarray] = {}
    for slug in sorted(slugs):
        counts, patient = of_slide(slug), facts[slug]["patient"]
        unanswered[slug] = counts.unanswered
        answers = counts.answers[: len(class_of)]
        if not answers.any():
            continue
        kept.append(slug)
        decided.append(called(answers, threshold_of(patient)))
        log_odds += counts.log_odds
        surface[patient] = surface.get(patient, 0) + counts.surface
        histograms[patient] = histograms.get(patient, 0) + one_against_rest(counts.scores)
    patients, of_patient = by_name(facts[slug]["patient"] for slug in kept)
    empty = SlideCounts()
    return Cohort(
        slugs=kept,
        patients=patients,
        of_patient=of_patient,
        called=np.array(decided, np.int64).reshape(-1, len(class_of), 3),
        surface=_stacked(surface, empty.surface),
        histograms=_stacked(histograms, one_against_rest(empty.scores)),
        log_odds=log_odds,
        class_of=class_of,
        unanswered=unanswered,
    )


def _stacked(of_patient: Mapping[str, np.ndarray], one: np.ndarray) -> np.ndarray:
    return np.array([of_patient[patient] for patient in sorted(of_patient)], np.int64).reshape(-1, *one.shape)


def read_step(
    step: str, teacher: Mapping[str, Any], counts: Counts, facts: Facts, splits: Sequence[str], class_of: np.ndarray
) -> tuple[dict[str, Cohort], dict[str, float] | None]:
    """Split -> its cohort at this step; and, where val figures are cross-fitted, val's patients -> their thresholds.

    Where the teacher's threshold comes from validation, each val patient is decided at the threshold chosen on the other val
    patients; with fewer than two of them at the teacher's, as all other splits are.
    """
    cohorts: dict[str, Cohort] = {}
    fitted: dict[str, float] | None = None
    for split in splits:
        slugs = [slug for slug, at in counts if at == step and slug in facts and facts[slug]["split"] == split]

        def of_slide(slug: str) -> SlideCounts:
            return counts[slug, step]

        own: dict[str, float] = {}
        if split == "val" and teacher["source"] == FROM_VALIDATION:
            own = fitted = leave_one_out(_answers_of_patients(slugs, of_slide, facts, class_of))

        def threshold_of(patient: str, own: Mapping[str, float] = own) -> float:
            return own.get(patient, teacher["threshold"])

        cohorts[split] = read_cohort(slugs, of_slide, facts, class_of, threshold_of)
    return cohorts, fitted


def _answers_of_patients(
    slugs: Sequence[str], of_slide: Callable[[str], SlideCounts], facts: Facts, class_of: np.ndarray
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for slug in slugs:
        patient = facts[slug]["patient"]
        found[patient] = found.get(patient, 0) + by_training_class(of_slide(slug).answers[: len(class_of)], class_of)
    return found
