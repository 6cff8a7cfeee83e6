"""Slide table -> one unit a slide. Mistakes that a user can fix are found here, before any work.

A corpus that an earlier recipe cut keeps its slides: their units are planned as that recipe planned them, so that nothing
is cut again unasked. `renew` asks (see corrections.py).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import read_all_done
from mlseg_core.exactly_once.run import Unit
from mlseg_core.files import fingerprint
from mlseg_core.store import Store, open_store
from shards.annotation import AnnotationFile, Frame
from shards.config import ShardsConfig
from shards.cutting.corrections import corrections
from shards.cutting.identity import (
    Known,
    is_first_form,
    is_full,
    read_known,
    recognise,
    slide_identity,
    slide_sha256,
    unreadable,
    write_known,
)
from shards.cutting.inputs import BEFORE, recipe_of, slide_inputs, targets
from shards.leaks import doubles, refuse_shared_content
from shards.reader import open_slide
from shards.slide_table import Slide, read_slide_table, rows_of, table_warnings
from shards.time_limit import OPENING_S, each_within

_THREADS = 8  # files may lie on a slow network
_TOO_LONG = f"it took longer than {OPENING_S / 60:g} minutes"
_LOOKING_THREADS = 32  # windows are many small reads, and waiting for a network is all that they cost


@dataclass(frozen=True)
class CutPlan:
    """units: one a slide, in the table's order; payload: (config, slide, inputs by part).

    known: slug -> the slide as it is now.
    counted: unit -> its inputs as the recipe that cut it before counted them, where that is not this one.
    renamed: unit -> the name that the recipe before gave to this slide, where it is another one.
    corrected: unit -> why it would be cut in another way today, though nothing of it changed; by `renew` it stays as it is, or
    is planned anew.
    cut: names of the units that are cut already.  warnings: what a person should know of the table before the work.
    problems: slug -> what is wrong with a slide that is to be cut, or with its annotation; None: the planning did not check.
    """

    units: list[Unit]
    problems: dict[str, UserError] | None = None
    known: dict[str, Known] = field(default_factory=dict)
    counted: dict[str, dict[str, str]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    corrected: dict[str, str] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()
    warnings: list[str] = field(default_factory=list)


def units(config: ShardsConfig, slides_csv: Path) -> list[Unit]:
    """The units of plan_cut for a new corpus."""
    return plan_cut(config, slides_csv).units


def plan_cut(
    config: ShardsConfig,
    slides_csv: Path,
    out: Path | str | None = None,
    renew: bool | None = None,
    check: bool = False,
) -> CutPlan:
    """Plan every slide of the table.

    out: the corpus that is to be continued; what is known of its slides saves reading them again.
    renew: True plans anew what an earlier recipe cut in another way than this one would; False keeps it and says so in
    `corrected`; None keeps it and does not look.
    check: look for problems as check_slides does, while each slide's annotation is at hand.
    Raises UserError for a table that makes no sense.
    """
    slides = _readable_table(slides_csv)
    store = open_store(out) if out is not None else None
    met = read_known(store) if store is not None else {}
    known, warnings = _look(slides_csv, slides, met)
    records = read_records(store) if store is not None else {}
    planner = _Planner(config, records, met, renew, check)
    pairs = list(zip(slides, known.values(), strict=True))
    found = each_within(lambda pair: planner.plan(*pair), pairs, _THREADS, OPENING_S, lambda pair: planner.late(*pair))
    return CutPlan(
        [one.unit for one in found],
        {s.slug: one.problem for s, one in zip(slides, found, strict=True) if one.problem is not None}
        if check
        else None,
        known,
        {one.unit.name: one.counted for one in found if one.counted},
        {
            one.unit.name: slide.slug_before
            for slide, one in zip(slides, found, strict=True)
            if one.unit.name == slide.slug != slide.slug_before and planner.was_cut_as(slide.slug_before, slide)
        },
        {one.unit.name: one.why for one in found if one.why},
        frozenset(one.unit.name for one in found if planner.is_cut(one.unit)),
        warnings,
    )


def look_at_slides(slides_csv: Path, out: Path | None = None) -> list[str]:
    """Recognise every slide of a campaign's table before any work.

    out: where the corpus will be; what is found is remembered there, so that no worker has to read the slides again.
    Returns warnings. Raises UserError for a table that makes no sense or has nothing to learn from, and for a slide that is in two
    splits.
    """
    slides = _readable_table(slides_csv)
    if not any(slide.split == "train" for slide in slides):
        raise UserError("no slide of split train", slides_csv, "Mark the slides to learn from as train.")
    store = open_store(out) if out is not None else None
    known, warnings = _look(slides_csv, slides, read_known(store) if store is not None else {})
    if store is not None:
        write_known(store, known)
    return warnings


def _look(slides_csv: Path, slides: list[Slide], met: Mapping[str, Known]) -> tuple[dict[str, Known], list[str]]:
    """Slug -> the slide as it is now, in the table's order; warnings. met: as an earlier planning met them."""

    def look(slide: Slide) -> Known:
        try:
            return recognise(slide.slide, met.get(slide.slug))
        except OSError as error:  # cutting it will say the same, and put it into quarantine
            return unreadable(str(error.strerror))

    found = each_within(look, slides, _LOOKING_THREADS, OPENING_S, lambda slide: unreadable(_TOO_LONG))
    rows, contents = rows_of(slides), _contents(slides, found)
    refuse_shared_content(slides_csv, rows, contents)
    known = {slide.slug: one for slide, one in zip(slides, found, strict=True)}
    touched = [slug for slug, now in known.items() if slug in met and _only_touched(met[slug], now)]
    return known, [*table_warnings(slides), *doubles(rows, contents), *_of_touched(touched)]


def _contents(slides: list[Slide], found: list[Known]) -> list[str]:
    """A hash of each slide's content: of every byte where two slides look the same in their windows."""
    times = Counter(known.content for known in found)
    return [
        slide_sha256(slide.slide) if known.content and times[known.content] > 1 else known.content
        for slide, known in zip(slides, found, strict=True)
    ]


def _only_touched(met: Known, now: Known) -> bool:
    """A new modification time, and no full hash to say whether the content between the windows is as it was."""
    return (
        met.state != now.state
        and met.state.bytes == now.state.bytes
        and met.identity == now.identity
        and not now.sha256
    )


def _of_touched(slugs: list[str]) -> list[str]:
    if not slugs:
        return []
    which = slugs[0] if len(slugs) == 1 else f"{len(slugs)} slides (first: {slugs[0]})"
    return [
        f"{which}: the modification time is new, size and sampled content are as before, so the shards stay; to have every byte "
        "compared from now on, run `mlseg shards verify DIR --slides CSV` once"
    ]


@dataclass(frozen=True)
class _Planned:
    """A slide's unit; its inputs as an earlier recipe counted them; why it would be cut in another way today; its problem."""

    unit: Unit
    counted: dict[str, str]
    why: str
    problem: UserError | None = None


class _Planner:
    """Plans slides one by one, on any thread. records, met: of the corpus that is to be continued."""

    def __init__(
        self,
        config: ShardsConfig,
        records: Mapping[str, dict[str, Any]],
        met: Mapping[str, Known],
        renew: bool | None,
        check: bool,
    ) -> None:
        self._config, self._records, self._met, self._renew, self._check = config, records, met, renew, check

    def plan(self, slide: Slide, now: Known) -> _Planned:
        """One slide. Its annotation is parsed once, for its class names and for the check."""
        annotation = _annotation_of(slide)
        planned = _Planned(*self._unit_of(slide, now, annotation))
        if not self._check or self.is_cut(planned.unit):
            return planned
        return replace(planned, problem=_problem(self._config, slide, annotation))

    def late(self, slide: Slide, now: Known) -> _Planned:
        """One slide that could not be planned in time: cutting it will try once more, and say what is wrong."""
        parts = slide_inputs(self._config, slide, now.identity, None)
        unit = self._unit(slide, parts | {"annotation": _TOO_LONG}, now)
        return _Planned(unit, {}, "", _never_opened(slide) if self._check else None)

    def is_cut(self, unit: Unit) -> bool:
        """Whether it is done, from the same inputs."""
        return bool(self._records.get(unit.name, {}).get("inputs") == unit.inputs)

    def _unit_of(self, slide: Slide, now: Known, annotation: AnnotationFile | None) -> tuple[Unit, dict[str, str], str]:
        for named in dict.fromkeys((slide.slug, slide.slug_before)):
            record = self._records.get(named)
            if record is None or recipe_of(record["facts"]["inputs"]) != BEFORE:
                continue
            then = replace(slide, known_as=named)
            counted = self._counted_before(then, now, self._met.get(slide.slug), annotation, record["facts"]["inputs"])
            if fingerprint(counted) != record["inputs"]:
                if named == slide.slug:
                    return self._fresh(slide, now, annotation), counted, ""
                continue
            kept = self._unit(then, counted, now)
            if self._renew is None:
                return kept, {}, ""
            why = "; ".join(corrections(self._config, then, thorough=self._renew))
            return (self._fresh(slide, now, annotation) if why and self._renew else kept), {}, why
        return self._fresh(slide, now, annotation), {}, ""

    def _fresh(self, slide: Slide, now: Known, annotation: AnnotationFile | None) -> Unit:
        """As today's recipe counts. Made only where it is needed, because it parses the annotation."""
        return self._unit(slide, slide_inputs(self._config, slide, now.identity, annotation), now)

    def _unit(self, slide: Slide, parts: dict[str, str], now: Known) -> Unit:
        return Unit(slide.slug, fingerprint(parts), (self._config, slide, parts), now.state.bytes / 2**20)

    def was_cut_as(self, name: str, slide: Slide) -> bool:
        """Whether a unit of this name was cut from the slide, though not from all that counts today."""
        record = self._records.get(name)
        if record is None or recipe_of(record["facts"]["inputs"]) != BEFORE:
            return False
        identity = record["facts"]["inputs"].get("slide", "")
        return is_first_form(identity) and slide_identity(slide.slide, identity) == identity

    def _counted_before(
        self, slide: Slide, now: Known, met: Known | None, annotation: AnnotationFile | None, recorded: dict[str, str]
    ) -> dict[str, str]:
        identity = recorded.get("slide", "")
        if is_full(now.identity) or (met is not None and met.identity != now.identity):
            identity = now.identity  # a change that the first form may miss
        elif is_first_form(identity) and now.content:
            identity = slide_identity(slide.slide, identity)
        return slide_inputs(self._config, slide, identity, annotation, BEFORE)


def read_records(store: Store) -> dict[str, dict[str, Any]]:
    """Unit -> its done record, of whatever inputs; those of another kind of work are left out."""
    records = {name: vars(record) for name, record in read_all_done(store).items()}
    return {name: record for name, record in records.items() if isinstance(record["facts"].get("inputs"), dict)}


def check_slides(config: ShardsConfig, slides_csv: Path, plan: CutPlan | None = None) -> dict[str, UserError]:
    """Slug -> what is wrong with the slide or its annotation: these will be quarantined.

    plan: where it was made with `check`, its problems are taken, of the slides that are to be cut, and nothing is read again.
    Raises UserError when the table makes no sense, or when more than `max_quarantined` of its slides are bad: then it is the table
    or the class map that has to be corrected, before any work.
    """
    if plan is not None and plan.problems is not None:
        bad, total = plan.problems, len(plan.units)
    else:
        slides = _readable_table(slides_csv)
        found = each_within(
            lambda slide: _problem(config, slide, _annotation_of(slide)), slides, _THREADS, OPENING_S, _never_opened
        )
        bad = {slide.slug: problem for slide, problem in zip(slides, found, strict=True) if problem is not None}
        total = len(slides)
    if len(bad) > config.max_quarantined * total:
        first = next(iter(bad.values()))
        more = f" (and {len(bad) - 1} more of {total} slides are bad)" if len(bad) > 1 else ""
        raise UserError(f"{first.what.rstrip('.')}{more}", first.where, first.fix)
    return bad


def annotated_classes(config: ShardsConfig, slides_csv: Path) -> set[str]:
    """Fine classes that the annotations of the train split name, read from them. Those that cannot be read name none.

    Raises UserError when the table makes no sense.
    """
    files = [slide.annotation for slide in _readable_table(slides_csv) if slide.split == "train" and slide.annotation]
    return set().union(*each_within(lambda path: _named(config, path), files, _THREADS, OPENING_S, lambda path: set()))


def _named(config: ShardsConfig, annotation: Path) -> set[str]:
    try:
        return set(config.fine_classes).intersection(targets(config, AnnotationFile(annotation)).values())
    except (UserError, OSError):
        return set()


def _annotation_of(slide: Slide) -> AnnotationFile | None:
    return AnnotationFile(slide.annotation) if slide.annotation is not None else None


def _never_opened(slide: Slide) -> UserError:
    fix = "Look at both files, and at the network that they lie on, or drop the row."
    return UserError(f"the slide or its annotation cannot be read: {_TOO_LONG}", slide.slide, fix)


def _problem(config: ShardsConfig, slide: Slide, annotation: AnnotationFile | None) -> UserError | None:
    try:
        with open_slide(slide, config.high_mpp) as reader:
            if annotation is not None:
                annotation.read(config, Frame.of(reader, slide.origin))
    except UserError as error:
        return error
    return None


def _readable_table(slides_csv: Path) -> list[Slide]:
    slides = read_slide_table(slides_csv)
    for slide in slides:
        if slide.annotation is None and slide.split != "train":
            where = f"{slides_csv}: {slide.slide.name}"
            raise UserError(f"slide of split {slide.split} has no annotation", where, "Annotate it, or drop its row.")
    return slides
