"""What the campaign did, in sentences: what became worse before what became better. In: Sources. Out: plain text.

A change is clear when its 95 % interval lies on one side of 0. Where the evaluation has a paired difference, that decides. Else
(evaluations of earlier code) the two intervals are combined as if independent, which is careful: the steps answer the same slides.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import (
    LEARNT,
    NARROW,
    NETWORKS,
    NO_FIGURE,
    SLIDES_OF,
    Interval,
    counted,
    has_interval,
    limits,
    listed,
    share,
    signed,
    value_of,
    with_limits,
)

NOTABLE, NOTABLE_IN_DOMAIN = 0.02, 0.05
"""Without an interval, a fall of at least so much is told as one; of a domain, which may be a single slide, only a larger one."""
MOST_FALLS = 3
"""Falls in the first sentence; the sections below show all."""
FACTOR_WORDS = {"stain": "", "scanner": "scanner ", "source": "source "}


@dataclass(frozen=True)
class Change:
    """A figure at two steps. where: in words. paired: the interval of the difference, where the evaluation has it.

    always_told: a fall is told even if it lies within its interval. notable: least fall that is told without an interval.
    """

    what: str
    where: str
    first: Interval
    last: Interval
    paired: Interval | None = None
    always_told: bool = False
    notable: float = NOTABLE

    @property
    def size(self) -> float:
        """Last minus first; 0 where one is not defined."""
        paired = value_of(self.paired)
        if paired is not None:
            return paired
        first, last = value_of(self.first), value_of(self.last)
        return 0.0 if first is None or last is None else last - first

    @property
    def patients(self) -> int:
        return int((self.paired or self.last).get("patients") or 0)

    @property
    def has_interval(self) -> bool:
        return has_interval(self.paired) or (has_interval(self.first) and has_interval(self.last))

    @property
    def is_clear(self) -> bool:
        """Whether chance alone is an unlikely reason; False without intervals."""
        if self.paired is not None and has_interval(self.paired):
            return self.paired["low"] > 0 or self.paired["high"] < 0
        if not self.has_interval:
            return False
        return abs(self.size) > math.hypot(*((one["high"] - one["low"]) / 2 for one in (self.first, self.last)))

    @property
    def is_fall(self) -> bool:
        """Whether the page tells it as something that became worse."""
        if self.size >= 0:
            return False
        if self.is_clear:
            return True
        return self.size <= -self.notable and (self.always_told or not self.has_interval)


def changes(sources: Sources, first: str, last: str) -> list[Change]:
    """Everything that is compared between two steps, the held-out splits first."""
    found = [*_of_splits(sources, first, last), *_of_bad_regions(sources, first, last)]
    return [*found, *_of_domains(sources, first, last)]


def _of_splits(sources: Sources, first: str, last: str) -> Iterator[Change]:
    for split in sources.splits:
        row = sources.difference(split, first, last) or {}
        ends = [sources.pooled(split, step, "miou") for step in (first, last)]
        yield Change("mean IoU", f"on {SLIDES_OF[split]}", ends[0], ends[1], row.get("miou"))
        for name in LEARNT:
            ends = [sources.pooled(split, step, "iou", name) for step in (first, last)]
            paired = (row.get("iou") or {}).get(name)
            yield Change(f"{name} IoU", f"on {SLIDES_OF[split]}", ends[0], ends[1], paired)


def _of_bad_regions(sources: Sources, first: str, last: str) -> Iterator[Change]:
    for split in sources.splits:
        was, now = (sources.block("bad_regions", split, step, "recall") or NO_FIGURE for step in (first, last))
        paired = (sources.difference(split, first, last) or {}).get("bad_regions")
        yield Change("the recall of bad regions", f"on {SLIDES_OF[split]}", was, now, paired, always_told=True)


def _of_domains(sources: Sources, first: str, last: str) -> Iterator[Change]:
    before = {(row["factor"], row["value"]): row for row in sources.block("domains", first) or []}
    paired = {}
    if (sources.block("domain_differences", "from"), sources.block("domain_differences", "to")) == (first, last):
        paired = {(row["factor"], row["value"]): row["iou"] for row in sources.block("domain_differences", "rows")}
    for row in sources.block("domains", last) or []:
        was = before.get((row["factor"], row["value"]))
        if was is None:
            continue
        place = f"on {FACTOR_WORDS[row['factor']]}{row['value']}"
        for name in LEARNT:
            ends = [found["iou"].get(name) or {} for found in (was, row)]
            difference = (paired.get((row["factor"], row["value"])) or {}).get(name)
            yield Change(f"{name} IoU", place, ends[0], ends[1], difference, notable=NOTABLE_IN_DOMAIN)


def falls(sources: Sources) -> list[Change]:
    """What became worse from the first evaluated step to the last, the clear ones first, then the largest; after these what the
    last step alone made clearly worse."""
    steps = sources.steps
    if len(steps) < 2:
        return []
    found = [one for one in changes(sources, steps[0], steps[-1]) if one.is_fall]
    found.sort(key=lambda one: (not one.is_clear, one.size))
    if len(steps) > 2:
        lately = [one for one in _of_splits(sources, steps[-2], steps[-1]) if one.is_fall and one.is_clear]
        found += [replace(one, where=f"{one.where} since {steps[-2]}") for one in lately]
    return found


def sentences(sources: Sources) -> list[str]:
    """The verdict. What the rounds of labels gave over a control, where there is one; what became worse; what was reached."""
    if sources.is_earlier:
        return [
            "This campaign was evaluated by an earlier version, which counted the pixels of overlapping patches several times; "
            "such figures are too high, and the page does not show them.",
            "Run `mlseg evaluate` on the run folder to count every annotated pixel once, then `mlseg report`.",
        ]
    if not sources.steps:
        return ["The steps have not been evaluated yet; the curves below show how far training has come."]
    split = sources.held_out[0]
    if len(sources.steps) == 1:
        return [_alone(sources, split), *_unseen(sources, split)]
    later = [_worse(sources), _reached(sources, split), *_network(sources, split), *_unseen(sources, split)]
    gain = gain_in_words(sources)
    return [gain, *later] if gain else later


def over_control(sources: Sources) -> list[Change]:
    """What the rounds of labels gave: the last step against the same steps on people's labels alone, on the held-out splits."""
    last = sources.steps[-1] if sources.steps else ""
    control = sources.control_of(last)
    if control is None:
        return []
    found = []
    for split in sources.held_out:
        ends = [sources.pooled(split, step, "miou") for step in (control, last)]
        row = sources.difference(split, control, last) or {}
        if all(value_of(end) is not None for end in ends):
            found.append(Change("mean IoU", f"on {SLIDES_OF[split]}", ends[0], ends[1], row.get("miou")))
    return found


def gain_in_words(sources: Sources) -> str:
    """The first sentence of a campaign with a control: what the rounds of labels gave over it. "" where there is none."""
    found = over_control(sources)
    if not found:
        return ""
    told = listed([f"{_difference(one)} {one.where}" for one in found])
    said = f"Over the same steps on people\u2019s labels alone, the rounds of labels changed mean IoU by {told}"
    patients = min(one.patients for one in found)
    evidence = counted(patients, "patient") if all(one.has_interval for one in found) else _no_interval(patients)
    if any(one.is_clear and one.size < 0 for one in found):
        return f"{said} ({evidence}): they do harm."
    if not any(one.is_clear for one in found):
        return f"{said} ({evidence}): no clear change."
    return f"{said} ({evidence})."


def _worse(sources: Sources) -> str:
    first, last = sources.steps[0], sources.steps[-1]
    found = falls(sources)
    if not found:
        compared = changes(sources, first, last)
        if not any(one.has_interval for one in compared):
            return (
                f"Between {first} and {last} no figure fell by .02 or more; there are too few patients for intervals."
            )
        return f"Between {first} and {last} none of the compared figures fell beyond its interval."
    told = []
    for what, of_figure in groupby(found[:MOST_FALLS], key=lambda one: one.what):
        told.append(f"{what} fell {listed([_fall(one) for one in of_figure])}")
    if found[MOST_FALLS:]:
        told.append(f"and {counted(len(found) - MOST_FALLS, 'more figure')} fell")
    return f"Between {first} and {last} {'; '.join(told)}."


def _fall(one: Change) -> str:
    if has_interval(one.paired):
        start, end = (share(value_of(found), 2) for found in (one.first, one.last))
        return f"from {start} to {end} {one.where} (paired difference {_difference(one)})"
    said = f"from {with_limits(one.first)} to {with_limits(one.last)} {one.where}"
    if not one.has_interval:
        return f"{said} ({_no_interval(one.patients)})"
    return said if one.is_clear else f"{said} (within its interval)"


def _reached(sources: Sources, split: str) -> str:
    first, last = sources.steps[0], sources.steps[-1]
    row = sources.difference(split, first, last) or {}
    ends = [sources.pooled(split, step, "miou") for step in (first, last)]
    one = Change("Mean IoU", f"on {SLIDES_OF[split]}", ends[0], ends[1], row.get("miou"))
    if any(value_of(end) is None for end in ends):
        return f"Mean IoU {one.where} is not defined for both {first} and {last}."
    start, end = with_limits(one.first), with_limits(one.last)
    if not one.has_interval:
        verb = "went" if abs(one.size) < NOTABLE else "rose" if one.size > 0 else "fell"
        return f"Mean IoU {one.where} {verb} from {start} to {end} ({_no_interval(one.patients)})."
    evidence = counted(one.patients, "patient")
    if has_interval(one.paired):
        evidence += f"; paired difference {_difference(one)}"
    if not one.is_clear:
        return f"Mean IoU {one.where} shows no clear change: {start} at {first}, {end} at {last} ({evidence})."
    return f"Mean IoU {one.where} {'rose' if one.size > 0 else 'fell'} from {start} to {end} ({evidence})."


def _alone(sources: Sources, split: str) -> str:
    step = sources.steps[0]
    found = sources.pooled(split, step, "miou")
    patients = int(found.get("patients") or 0)
    evidence = counted(patients, "patient") if has_interval(found) else _no_interval(patients)
    majority = sources.block("splits", split, "majority").get("miou")
    constant = sources.block("majority") or "one class"
    return (
        f"{step} reaches a mean IoU of {with_limits(found)} on {SLIDES_OF[split]} ({evidence}); "
        f"always answering {constant} gives {share(majority, 2)}."
    )


def _network(sources: Sources, split: str) -> list[str]:
    """Says which part of the change may come from another network, where the steps do not share one."""
    models = {step.name: step.model for step in sources.config.steps}
    evaluated = [step for step in sources.steps if step in models]
    first, last = evaluated[0], evaluated[-1]
    if models[first] == models[last]:
        return []
    names = [NETWORKS[models[step].kind] for step in (first, last)]
    if names[0] == names[1]:
        words = f"from one {names[0]} to another"
    else:
        words = f"from {_article(names[0])} ({first}) to {_article(names[1])}"
    since = next(
        step for step in evaluated if all(models[later] == models[last] for later in evaluated[evaluated.index(step) :])
    )
    said = f"Of this difference the change of network {words} (from {since} on) is part"
    if since == last:
        return [f"{said}; what the label rounds gave apart from it cannot be told from these steps."]
    was, now = (sources.pooled(split, step, "miou") for step in (since, last))
    one = Change("mean IoU", "", was, now, (sources.difference(split, since, last) or {}).get("miou"))
    return [f"{said}; from {since} to {last}, with the same network, mean IoU changed by {_difference(one)}."]


def _unseen(sources: Sources, shown: str) -> list[str]:
    """The other held-out splits, in a sentence each."""
    found = []
    for split in sources.held_out:
        last = sources.pooled(split, sources.steps[-1], "miou")
        if split == shown or value_of(last) is None:
            continue
        patients = int(last.get("patients") or 0)
        evidence = counted(patients, "patient") if has_interval(last) else _no_interval(patients)
        reached = f"On {SLIDES_OF[split]} {sources.steps[-1]} reaches {with_limits(last)}"
        if len(sources.steps) > 1:
            reached += f", {sources.steps[0]} {share(value_of(sources.pooled(split, sources.steps[0], 'miou')), 2)}"
        found.append(f"{reached} ({evidence}).")
    return found


def _difference(one: Change) -> str:
    """`+.11 [+.05, +.16]`."""
    return f"{signed(one.size, 2)}{NARROW}{limits(one.paired, 2, sign=True)}".rstrip()


def _no_interval(patients: int) -> str:
    return f"n = {counted(patients, 'patient')}, no interval"


def _article(name: str) -> str:
    return f"{'an' if name.startswith('m-') else 'a'} {name}"


def domains_named(sources: Sources) -> str:
    """`stain and source`: factors that split the evaluated slides in the same way; empty where there are none."""
    return "; ".join(listed(pair) for pair in sources.block("confounded") or [])
