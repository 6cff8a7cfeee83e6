"""Scores as plain text, 80 columns."""

import textwrap
from collections.abc import Iterator, Sequence

from benchmarks.pseudo_labels.score import Figures, RoundScore
from mlseg_dist.config import CLASSES
from mlseg_dist.data.labels import LEVELS, VIEWS, ViewName
from mlseg_dist.report.words import ORDER

WIDTH = 80
_FIRST_LEVEL = 8  # of the table of thresholds: a class of three that is said has a third or more
_NOTE = (
    "Pixels that nobody labelled, each once, every stride-th in both directions. right: of the accepted, those that are of the "
    "class; exp.: as the round expected it; recall: of the class, those that are accepted as it; taken: accepted as anything. "
    "known: slides of a lab and scanner of which people annotated a train slide; other: all other slides; both as right/recall."
)


def in_words(scores: Sequence[RoundScore], thresholds: bool = False) -> str:
    """All rounds. thresholds: also what other thresholds would have given."""
    lines = [line for score in scores for line in (*_round(score, thresholds), "")]
    return "\n".join([*lines, *textwrap.wrap(_NOTE, WIDTH)])


def in_brief(scores: Sequence[RoundScore]) -> str:
    """A line a round and view: right of what is accepted / part of the class that is accepted as it, by the whole truth."""
    lines = [f"{'by the truth':14}{'teacher':14}{'view':8}" + "".join(f"{name:>14}" for name in ORDER)]
    for score in scores:
        for view in VIEWS:
            first = (f"round {score.round}", score.teacher) if view == VIEWS[0] else ("", "")
            figures = score.figures(view, None)
            cells = "".join(f"{_both(figures[name]):>14}" for name in ORDER)
            lines.append(f"{first[0]:14}{first[1]:14}{view:8}{cells}")
    said = "Of pixels that nobody labelled: right, of what was accepted as the class / accepted as it, of the class."
    return "\n".join([*lines, *textwrap.wrap(said, WIDTH)])


def _round(score: RoundScore, thresholds: bool) -> Iterator[str]:
    yield f"Round {score.round}, labelled by {score.teacher}; stride {score.stride}"
    for view in VIEWS:
        yield (
            f"{view + ' view':12}{'from':>6}{'true px':>8}{'accepted':>9}{'right':>6}{'exp.':>6}{'recall':>7}{'taken':>6}"
            f"{'known':>10}{'other':>10}"
        )
        every, known, other = (score.figures(view, group) for group in (None, "known", "other"))
        for name, figures in every.items():
            yield (
                f"  {name:10}{_threshold(score, view, name):>6}{_px(figures.truth):>8}{_px(figures.accepted):>9}"
                f"{_share(figures.precision):>6}{_share(_expected(score, view, name)):>6}{_share(figures.recall):>7}"
                f"{_share(figures.share_taken):>6}{_both(known[name]):>10}{_both(other[name]):>10}"
            )
        for name in CLASSES:
            wrong = score.mistaken_for(view, name)
            if wrong:
                text = f"accepted as {name}, in truth: " + ", ".join(f"{fine} {_px(px)}" for fine, px in wrong.items())
                yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
        if thresholds:
            yield from _thresholds(score, view)
    yield from _drawn(score)
    yield from _tissue(score)


def _thresholds(score: RoundScore, view: ViewName) -> Iterator[str]:
    confusions, truth = score.at_each_level(view), score.truth(view)
    levels = range(_FIRST_LEVEL, LEVELS)
    yield f"  {'threshold':18}" + "".join(f"{_share(level / (LEVELS - 1), 2):>4}" for level in levels)
    for number, name in enumerate(CLASSES):
        each = [
            Figures(int(c[:, number].sum()), int(c[number, number]), int(truth[number]), int(c[number].sum()))
            for c in confusions
        ]
        for what, shares in (("right", [f.precision for f in each]), ("recall", [f.recall for f in each])):
            yield f"  {f'{name} {what}':18}" + "".join(f"{_share(shares[level], 2):>4}" for level in levels)


def _drawn(score: RoundScore) -> Iterator[str]:
    pairs = score.pairs_drawn()
    yield f"{'Unannotated pairs, drawn as':28}" + "".join(f"{name:>12}" for name in (*CLASSES, "nothing"))
    for name, row in zip((*CLASSES, "unknown"), pairs, strict=True):
        if name in CLASSES or row.any():
            yield f"  {'centre in truth ' + name:26}" + "".join(f"{count:>12}" for count in row)
    right = [_share(float(pairs[c, c] / total) if (total := pairs[:, c].sum()) else None) for c in range(len(CLASSES))]
    yield f"  {'right':26}" + "".join(f"{share:>12}" for share in right)
    other, every = score.pool["other"], score.pool["known"] + score.pool["other"]
    if other.sum():
        yield f"{'All pairs that can be drawn':28}" + "".join(f"{count:>12}" for count in every)
        yield f"  {'of these on other slides':26}" + "".join(f"{count:>12}" for count in other)


def _tissue(score: RoundScore) -> Iterator[str]:
    """How common the classes are, in truth and as the round has estimated it."""
    truth, estimated = score.truth("high"), (score.expected or {}).get("shares")
    if truth.sum() and estimated:
        shares = ", ".join(
            f"{name} {count / truth.sum():.1%} (estimated {estimated[name]:.1%})"
            for name, count in zip(CLASSES, truth, strict=True)
        )
        yield from textwrap.wrap(f"Shares of the classes: {shares}", WIDTH, subsequent_indent="  ")


def _threshold(score: RoundScore, view: ViewName, name: str) -> str:
    level = score.accepting.levels(view)[CLASSES.index(name)]
    return "never" if level >= LEVELS else _share(level / (LEVELS - 1), 2)


def _expected(score: RoundScore, view: ViewName, name: str) -> float | None:
    found: float | None = score.expected["precision"][view][name] if score.expected else None
    return found


def _px(count: int) -> str:
    """Whole pixels, or thousands of them."""
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _both(figures: Figures) -> str:
    return f"{_share(figures.precision)}/{_share(figures.recall)}"


def _share(value: float | None, digits: int = 3) -> str:
    """.973, 1, – for nothing. Rounded down, so that only what is all right is 1."""
    if value is None:
        return "–"
    shown = int(value * 10**digits + 1e-6) / 10**digits
    return f"{shown:.{digits}f}"[1:] if shown < 1 else "1"
