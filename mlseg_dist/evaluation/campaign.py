"""The campaign's own evaluation: its units, its manifest. What needs torch is imported when the merge needs it."""

from collections.abc import Sequence
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Unit
from mlseg_dist.evaluation import ledger
from mlseg_dist.evaluation.ledger import Opening
from mlseg_dist.evaluation.plan import Subject, no_slides, scored_slides, units
from mlseg_dist.events import LogEvent
from shards.tar import BadShard

COMMAND = "the campaign's own evaluation"


def begin(subject: Subject) -> tuple[list[Unit], Opening | None]:
    """All units, and the opening of final-unseen, if that is among the splits. Raises UserError.

    Every worker asks: the first one records the opening, the others find it.
    """
    splits = subject.config.evaluate.splits
    slides = scored_slides(subject, splits)
    if not slides:
        raise no_slides(subject, splits)
    todo = units(subject, slides)
    inputs = ledger.inputs_of(todo)
    if not inputs:
        return todo, None
    return todo, ledger.open_split(subject.run, corpus_of(subject), inputs, teachers_of(subject), COMMAND, repeats=True)


def publish(
    subject: Subject, todo: Sequence[Unit], folder: Path, out: Path, opening: Opening | None, log_event: LogEvent
) -> None:
    """Write out/evaluation.json, then what is shown beside it and counts nowhere: out/features.json, heat maps.

    Slides that could not be scored are logged, and so is what could not be shown; neither stops the campaign.
    """
    from mlseg_dist.evaluation import features, heat, publish

    found = publish.publish(subject, todo, [folder], out)
    try:
        heat.write(subject, found, out / publish.PICTURES)
        if not features.write(subject, out):
            log_event("no-features", "deep features need an EfficientNet encoder and three pairs")
    except (UserError, BadShard) as error:
        log_event("no-features", f"heat maps or deep features could not be made: {error}")
    for why in publish.reasons(found):
        log_event("not-scored", why)
    if opening is not None:
        ledger.finish(subject.run, opening)


def corpus_of(subject: Subject) -> str:
    """sha256 of the corpus' manifest."""
    return subject.corpus_sha256


def teachers_of(subject: Subject) -> dict[str, str]:
    """Step -> sha256 of its teacher."""
    return {step.name: subject.teacher_sha256(step.name) for step in subject.steps}
