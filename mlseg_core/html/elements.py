"""What pages are made of, as functions. Text is escaped when it is put into its element; Html is finished and stays as it is."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlseg_core.html.templates import Html, Templates

_made = Templates(Path(__file__).parent / "templates").macros("elements.html")
Text = str | Html


@dataclass(frozen=True)
class Section:
    """A section of a page that its table of contents names. lead: sentences under the heading."""

    title: str
    lead: str
    body: Sequence[Html]

    @property
    def shown(self) -> Html:
        return _made.section(self.title, self.lead, join(self.body), True)


@dataclass(frozen=True)
class Cell:
    """A cell of a table. span: columns that it covers; style: CSS; small: a line below the content; title: shown on hovering."""

    content: object
    classes: str = ""
    span: int = 1
    style: str = ""
    title: str = ""
    small: str = ""
    is_head: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table; what is not a Cell becomes a plain one."""

    cells: Iterable[Cell | object]
    classes: str = ""

    @property
    def as_cells(self) -> list[Cell]:
        return [one if isinstance(one, Cell) else Cell(one) for one in self.cells]


def table(
    head: Sequence[Iterable[Cell | object]],
    rows: Iterable[Row | Iterable[Cell | object]],
    classes: str = "",
    name: str = "Table, scrolls sideways",
    id: str = "",
) -> Html:
    """head: rows of heads. name: read aloud. A wide table scrolls inside its box; its first column stays."""
    return _made.table([Row(cells) for cells in head], map(_row, rows), classes, name, id)


def _row(given: Row | Iterable[Cell | object]) -> Row:
    return given if isinstance(given, Row) else Row(given)


def left(content: object) -> Cell:
    """A cell of text."""
    return Cell(content, "left")


def head_row(left_titles: Sequence[str], titles: Sequence[object]) -> list[Cell]:
    """Titles of columns of text, then of columns of numbers."""
    return [*map(left, left_titles), *map(Cell, titles)]


def join(parts: Iterable[Html]) -> Html:
    return Html("\n").join(parts)


def details(title: str, *body: Html) -> Html:
    """A fold."""
    return _made.details(title, join(body))


def heading(title: str) -> Html:
    return _made.heading(title)


def note(said: str) -> Html:
    """A remark below a table."""
    return _made.note(said)


def warning(said: str) -> Html:
    return _made.warning(said)


def grid(items: Iterable[Html], classes: str = "two") -> Html:
    """Side by side where there is room."""
    return _made.grid(items, classes)


def dotted(name: str, colour: str) -> Html:
    """A name after a dot in its colour; no colour: a ring."""
    return _made.dotted(name, colour)


def tagged(name: str, tags: Iterable[str]) -> Html:
    """A name, and behind it what it needs to be known for."""
    return _made.tagged(name, tags)


def legend(colours: Mapping[str, str]) -> Html:
    """Name -> colour."""
    return _made.legend(colours)


def data_uri(data: bytes, kind: str) -> str:
    """A picture inside the page. kind: svg+xml, png, jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def image(source: str, alt: str, size: tuple[int, int] | None = None) -> Html:
    """size: width and height in px, so that the page does not jump while pictures load."""
    return _made.image(source, alt, size)


def figure(source: str, alt: str, classes: str = "", id: str = "") -> Html:
    return _made.figure(image(source, alt), classes, id)
