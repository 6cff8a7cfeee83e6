"""The campaign's graph as a picture (SVG, PNG or PDF): columns in the order of the phases, colours by their state."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.graph import Phase
from mlseg_core.errors import UserError
from mlseg_core.files import replace_synced, temporary_beside
from mlseg_core.own import check_file, refuse_foreign

COLOURS = {
    "done": "#8fce9b",
    "running": "#8ab8e6",
    "queued": "#c9d9ea",
    "failed": "#e88f8a",
    "lost": "#e88f8a",
    "stale": "#e8c46a",
    "interrupted": "#e8c46a",
    "waiting": "#e6e6e6",
    "missing": "#e6e6e6",
}
_WIDTH, _HEIGHT = 1.5, 0.62
_CREATOR = "mlseg plan --graph"
"""Recorded in each picture's metadata, so that is_graph() recognises it."""
_LABEL_LANE, _STYLE_LANE, _APART = 1.2, -1.2, 1.95
_STYLE_KINDS = ("generators", "style")
_SUFFIXES = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class PhaseBox:
    """A phase as the picture shows it. below: a second line of text, such as its wall time."""

    phase: Phase
    state: str
    below: str = ""


def check_picture(out: Path) -> None:
    """Before any work: a picture can be drawn there, over none but ours. Raises UserError."""
    if out.suffix.lower() not in _SUFFIXES:
        raise UserError(f"no picture format {out.suffix!r}", "--graph", f"Use one of {', '.join(_SUFFIXES)}.")
    check_file(out, "Name another file with --graph.")
    refuse_foreign([out], is_graph)


def draw(nodes: Sequence[PhaseBox], title: str, out: Path) -> None:
    """Write the picture, to where check_picture found nothing wrong."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    places = _places([node.phase for node in nodes])
    width = max(x for x, _ in places.values()) + _WIDTH
    bottom = min(y for _, y in places.values()) - 1.4
    figure = Figure(figsize=(max(6.0, 0.8 * width), 0.83 * (2.1 - bottom)), layout="constrained")
    axes = figure.add_subplot()
    for node in nodes:
        x, y = places[node.phase.name]
        box = FancyBboxPatch(
            (x - _WIDTH / 2, y - _HEIGHT / 2),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=COLOURS.get(node.state, "#ffffff"),
            edgecolor="#444444",
            linewidth=0.8,
            zorder=2,
        )
        axes.add_patch(box)
        axes.text(x, y + (0.12 if node.below else 0), node.phase.name, ha="center", va="center", fontsize=8, zorder=3)
        axes.text(x, y - 0.15, node.below, ha="center", va="center", fontsize=6.5, color="#333333", zorder=3)
        for name in _arrows(node.phase, nodes):
            axes.add_patch(
                FancyArrowPatch(
                    *_ends(places[name], (x, y)),
                    arrowstyle="-|>",
                    mutation_scale=8,
                    linewidth=0.9,
                    color="#444444",
                    shrinkA=0,
                    shrinkB=0,
                    zorder=1,
                )
            )
    for number, state in enumerate(dict.fromkeys(node.state for node in nodes)):
        axes.text(
            number * 1.35 - _WIDTH / 2 + 0.1,
            bottom + 0.3,
            state,
            fontsize=7.5,
            va="center",
            bbox={"facecolor": COLOURS.get(state, "#ffffff"), "edgecolor": "none", "boxstyle": "round,pad=0.3"},
        )
    axes.set(xlim=(-_WIDTH / 2 - 0.1, width - _WIDTH / 2 + 0.1), ylim=(bottom, 2.1), aspect="equal")
    axes.set_title(title.replace("$", r"\$"), fontsize=9, loc="left")
    axes.axis("off")
    temporary, kind = temporary_beside(out), out.suffix.lower().lstrip(".")
    figure.savefig(temporary, format=kind, dpi=150, metadata={"Software" if kind == "png" else "Creator": _CREATOR})
    replace_synced(temporary, out)


def is_graph(path: Path) -> bool:
    """Whether a file is a picture that draw() made."""
    return _CREATOR.encode() in path.read_bytes()


def _places(phases: Sequence[Phase]) -> dict[str, tuple[float, float]]:
    """The centre of each box. Training lies on the main line, labelling above it between teacher and student, styles below."""
    places: dict[str, tuple[float, float]] = {}
    x, last = 0.0, None
    for phase in phases:
        if phase.kind in _STYLE_KINDS:
            places[phase.name] = (x + _APART * (1 + _STYLE_KINDS.index(phase.kind)), _STYLE_LANE)
            continue
        y = _LABEL_LANE if phase.kind == "label" else 0.0
        x += 0.0 if last is None else (_APART if y == last else _APART / 2 + 0.1)
        places[phase.name], last = (x, y), y
    return places


def _arrows(phase: Phase, nodes: Sequence[PhaseBox]) -> list[str]:
    """The inputs that get an arrow. Every phase reads the shards, so only the first reader in each lane gets one from them."""
    kinds = {node.phase.name: node.phase.kind for node in nodes}
    if phase.kind in ("evaluate", "report"):
        return [phase.inputs[-1]]
    same_lane = [node.phase for node in nodes if (node.phase.kind in _STYLE_KINDS) == (phase.kind in _STYLE_KINDS)]
    first = {name: other.name for other in reversed(same_lane) for name in other.inputs}
    return [name for name in phase.inputs if kinds[name] != "shards" or first[name] == phase.name]


def _ends(start: tuple[float, float], end: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves one box and meets the other."""
    if start[1] == end[1]:
        return (start[0] + _WIDTH / 2, start[1]), (end[0] - _WIDTH / 2, end[1])
    up = 1 if end[1] > start[1] else -1
    return (start[0], start[1] + up * _HEIGHT / 2), (end[0], end[1] - up * _HEIGHT / 2)
