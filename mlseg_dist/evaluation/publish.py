"""Finished units -> evaluation.json and its pictures: the same bytes for any number of workers, in any order."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Unit
from mlseg_core.files import write_json
from mlseg_dist.evaluation import operating_point, summary
from mlseg_dist.evaluation.differences import Against
from mlseg_dist.evaluation.drawn import is_drawn
from mlseg_dist.evaluation.examples import draw_examples
from mlseg_dist.evaluation.plan import Subject
from mlseg_dist.evaluation.results import Result, StoredCounts, proven
from mlseg_dist.evaluation.worst import draw_worst

EVALUATION, PICTURES = "evaluation.json", "pictures"


@dataclass(frozen=True)
class Other:
    """Another run over the same slides. steps: our step -> theirs. units: theirs."""

    subject: Subject
    units: Sequence[Unit]
    steps: dict[str, str]


def publish(
    subject: Subject,
    units: Sequence[Unit],
    folders: Sequence[Path],
    out: Path,
    *,
    against: Other | None = None,
    source: operating_point.ThresholdSource | None = None,
) -> dict[str, Any]:
    """Write out/pictures/*.png, then out/evaluation.json; returns its content.

    folders: where the units may lie. source: where thresholds come from, if not from where the config and the teachers say.
    Raises map.Incomplete, UserError.
    """
    results = proven(units, folders)
    splits = subject.config.evaluate.splits
    found = summary.build(
        corpus=subject.corpus,
        corpus_sha256=subject.corpus_sha256,
        config=subject.config,
        slides=_facts(subject, units, splits),
        counts=StoredCounts(results),
        not_scored=_not_scored(results),
        teachers=_teachers(subject, source),
        grid=subject.facts_of_grid(),
        against=None if against is None else _against(against, folders, results),
        majority=subject.majority,
    )
    pictures = out / PICTURES
    found["pictures"] = [
        *draw_worst(subject, results, found["slides"], pictures),
        *(
            draw_examples(subject, results, pictures)
            if subject.keeps_patches and subject.config.evaluate.pictures
            else ()
        ),
    ]
    write_json(out / EVALUATION, found)
    listed = {row["file"] for row in found["pictures"]}
    for path in pictures.glob("*.png"):  # an earlier evaluation here may have drawn more
        if path.name not in listed and is_drawn(path):
            path.unlink()
    return found


def reasons(found: dict[str, Any]) -> list[str]:
    """One line a slide and step that was not scored. found: evaluation.json."""
    return [
        f"{row['slide']} ({row['split']}) was not scored by {row['step']}: {row['why']}" for row in found["not_scored"]
    ]


def _facts(subject: Subject, units: Sequence[Unit], splits: Sequence[str]) -> dict[str, Any]:
    """Facts of the evaluated slides, by slug."""
    evaluated = {unit.payload.scored.slide.slug for unit in units}
    return {slug: fact for slug, fact in subject.facts(splits).items() if slug in evaluated}


def _not_scored(results: Sequence[Result]) -> list[dict[str, str]]:
    return [
        {"slide": one.slug, "split": one.one.scored.split, "step": one.one.step_name, "why": one.not_scored}
        for one in results
        if one.not_scored
    ]


def _teachers(subject: Subject, source: operating_point.ThresholdSource | None) -> dict[str, dict[str, Any]]:
    found = {}
    for step in subject.steps:
        point = subject.point(step.name)
        point = point if source is None else replace(point, source=source)
        found[step.name] = {"sha256": subject.teacher_sha256(step.name), **asdict(point)}
    return found


def _against(other: Other, folders: Sequence[Path], ours: Sequence[Result]) -> Against:
    """Raises UserError when their annotated pixels are not ours."""
    theirs = proven(other.units, folders)
    for slug, (own, their) in _pixels(ours, theirs).items():
        if own != their:
            what = f"slide {slug} has {own:,} annotated pixels here and {their:,} there: figures cannot be compared"
            raise UserError(what, other.subject.run, "Evaluate runs whose corpora were cut from the same annotations.")
    return Against(other.subject.run.name, other.steps, StoredCounts(theirs), _teachers(other.subject, None))


def _pixels(ours: Sequence[Result], theirs: Sequence[Result]) -> dict[str, tuple[int, int]]:
    """Slug -> annotated pixels of both runs, of slides that both have scored."""
    totals = []
    for results in (ours, theirs):
        first = {one.slug: one for one in results if not one.not_scored}
        counts = {slug: one.counts() for slug, one in first.items()}
        totals.append({slug: int(one.answers.sum()) + one.unanswered for slug, one in counts.items()})
    return {slug: (own, totals[1][slug]) for slug, own in totals[0].items() if slug in totals[1]}
