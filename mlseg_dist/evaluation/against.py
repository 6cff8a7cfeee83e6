"""Another run, to compare with: the same slides under the same settings, or a refusal that names the difference. Loads no torch."""

from collections.abc import Sequence
from dataclasses import replace

from mlseg_core.errors import UserError
from mlseg_dist.evaluation.plan import ScoredSlide, Subject, scored_slides, taught

_SAME = "Evaluate runs whose corpora were cut from the same slides and annotations."


def subject_against(ours: Subject, slides: Sequence[ScoredSlide], theirs: Subject) -> tuple[Subject, list[ScoredSlide]]:
    """Theirs, evaluated as ours is, and its slides. Raises UserError."""
    if theirs.config.training_classes != ours.config.training_classes:
        raise UserError("its training_classes differ", theirs.run, "Figures of other classes cannot be compared.")
    for what in ("views", "classes"):
        if getattr(theirs.corpus, what) != getattr(ours.corpus, what):
            raise UserError(f"its corpus has other {what}", theirs.run, _SAME)
    own = ours.config.evaluate
    settings = {"splits": own.splits, "batch": own.batch, "overlap": own.overlap, "boundary_um": own.boundary_um}
    changed = theirs.config.evaluate.model_copy(update={**settings, "view_px": ours.view_px, "steps": None})
    if own.threshold is not None:
        changed = changed.model_copy(update={"threshold": own.threshold})
    theirs = taught(replace(theirs, config=theirs.config.model_copy(update={"evaluate": changed})))
    kept = set(steps_against(ours, theirs).values())
    changed = theirs.config.evaluate.model_copy(update={"steps": tuple(s.name for s in theirs.steps if s.name in kept)})
    theirs = replace(theirs, config=theirs.config.model_copy(update={"evaluate": changed}))
    found = scored_slides(theirs, own.splits)
    _check_same(ours, slides, theirs, found)
    return theirs, found


def steps_against(ours: Subject, theirs: Subject) -> dict[str, str]:
    """Our step -> theirs: those of the same name; the last ones where no name is shared."""
    names = {step.name for step in theirs.steps}
    shared = {step.name: step.name for step in ours.steps if step.name in names}
    return shared or {ours.own_steps[-1].name: theirs.own_steps[-1].name}


def _check_same(ours: Subject, own: Sequence[ScoredSlide], theirs: Subject, found: Sequence[ScoredSlide]) -> None:
    """Refuse what certainly differs. publish compares the numbers of annotated pixels, which are known once they are counted."""
    if theirs.corpus.fingerprint == ours.corpus.fingerprint:
        return
    mine, other = ({one.slide.slug: one for one in slides} for slides in (own, found))
    if mine.keys() != other.keys():
        slug = min(mine.keys() ^ other.keys())
        where = ours.run if slug in other else theirs.run
        raise UserError(f"slide {slug} is not among the evaluated ones", where, _SAME)
    for slug, one in mine.items():
        twin = other[slug]
        if one.split != twin.split:
            raise UserError(f"slide {slug} is in split {twin.split}, here in {one.split}", theirs.run, _SAME)
        for part in ("annotation", "slide"):
            here, there = one.inputs.get(part, ""), twin.inputs.get(part, "")
            if here.partition(":")[0] == there.partition(":")[0] and ":" in here and here != there:
                raise UserError(f"the {part} of {slug} is another one", theirs.run, _SAME)
            if part == "annotation" and here != there:
                raise UserError(f"the annotation of {slug} is another one", theirs.run, _SAME)
