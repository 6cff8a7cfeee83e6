"""Pieces of HTML. Text from names and files is escaped here; strings of type Html are finished and stay as they are."""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NewType

from mlseg_dist.report.words import Interval, limits, share, value_of

Html = NewType("Html", str)


@dataclass(frozen=True)
class Part:
    """A section of a page: what the table of contents needs to know, and its body. lead: one plain sentence under the heading."""

    title: str
    lead: str
    body: Html

    @property
    def shown(self) -> Html:
        return section(self.title, self.lead, self.body)


def part(title: str, lead: str, *body: Html) -> Part:
    return Part(title, lead, join(body))


def text(value: object) -> Html:
    return Html(html.escape(str(value), quote=True))


def join(parts: Iterable[Html], between: str = "\n") -> Html:
    return Html(between.join(parts))


def number(value: float | None, digits: int = 3) -> Html:
    """A share or IoU; a dash where it is not defined."""
    return text(share(value, digits))


def interval(found: Interval | None, digits: int = 3) -> Html:
    """The figure, and its 95 % interval small below it."""
    bounds = limits(found)
    return Html(f"{share(value_of(found), digits)}{f'<small>{bounds}</small>' if bounds else ''}")


def data_uri(data: bytes, kind: str) -> str:
    """kind: svg+xml, png, jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def image(source: str, alt: str, classes: str = "", size: tuple[int, int] | None = None) -> Html:
    """size: width and height in px, so that the page does not jump while pictures load."""
    attributes = f' class="{classes}"' if classes else ""
    attributes += f' width="{size[0]}" height="{size[1]}" loading="lazy"' if size else ""
    return Html(f'<img{attributes} alt="{text(alt)}" src="{text(source)}">')


def picture(data: bytes, kind: str, alt: str, classes: str = "") -> Html:
    """An image inside the page."""
    return image(data_uri(data, kind), alt, classes)


def figure(svg: bytes, alt: str, classes: str = "") -> Html:
    attributes = f' class="{classes}"' if classes else ""
    return Html(f"<figure{attributes}>{picture(svg, 'svg+xml', alt)}</figure>")


def anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def prose(said: str) -> Html:
    """Sentences; what stands between backticks is set as code."""
    return Html(re.sub(r"`([^`]+)`", r"<code>\1</code>", text(said)))


def section(title: str, lead: str, *body: Html) -> Html:
    """lead: one plain sentence under the heading."""
    note = f'<p class="lead">{prose(lead)}</p>' if lead else ""
    return Html(f'<section id="{anchor(title)}"><h2>{text(title)}</h2>{note}{join(body)}</section>')


def contents(parts: Sequence[Part]) -> Html:
    """Links to the sections: at the side of a wide window, folded on a narrow one, where a choice folds it again (`:target`)."""
    links = join((Html(f'<li><a href="#{anchor(one.title)}">{text(one.title)}</a></li>') for one in parts), "")
    return Html(
        '<nav id="contents" aria-label="Contents"><a class="open" href="#contents">Contents</a>'
        f'<a class="close" href="#">Close</a><ol>{links}</ol></nav>'
    )


def details(title: str, body: Html) -> Html:
    return Html(f"<details><summary>{text(title)}</summary>{body}</details>")


def heading(title: str) -> Html:
    return Html(f"<h3>{text(title)}</h3>")


def note(said: str) -> Html:
    """A remark below a table."""
    return Html(f'<p class="note">{text(said)}</p>')


def warning(said: str) -> Html:
    return Html(f'<p class="warning" role="note">{text(said)}</p>')


def grid(items: Iterable[Html], classes: str = "two") -> Html:
    return Html(f'<div class="grid {classes}">{join(items)}</div>')


def table(
    head: Sequence[Sequence[Html]], body: Sequence[Html], classes: str = "", name: str = "Table, scrolls sideways"
) -> Html:
    """head: rows of finished cells; body: finished rows. A wide table scrolls inside its box; its first column stays."""
    rows = join(Html(f"<tr>{join(cells, '')}</tr>") for cells in head)
    attributes = f' class="{classes}"' if classes else ""
    return Html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}"><table{attributes}><thead>{rows}</thead>'
        f"<tbody>{join(body)}</tbody></table></div>"
    )


def row(cells: Iterable[Html], classes: str = "") -> Html:
    attributes = f' class="{classes}"' if classes else ""
    return Html(f"<tr{attributes}>{join(cells, '')}</tr>")


def cell(content: Html, classes: str = "", span: int = 1, tag: str = "td", style: str = "") -> Html:
    attributes = "".join(f' {name}="{value}"' for name, value in (("class", classes), ("style", style)) if value) + (
        f' colspan="{span}"' if span > 1 else ""
    )
    return Html(f"<{tag}{attributes}>{content}</{tag}>")


def left(content: object) -> Html:
    """A cell of text."""
    return cell(text(content), "left")


def head_cell(content: Html, classes: str = "", span: int = 1) -> Html:
    return cell(content, classes, span, "th")


def head_row(left_titles: Sequence[str], titles: Sequence[str]) -> list[Html]:
    """Titles of columns of text, then of columns of numbers."""
    return [*(head_cell(text(one), "left") for one in left_titles), *(head_cell(text(one)) for one in titles)]


def tag(said: str) -> Html:
    return Html(f'<span class="tag">{text(said)}</span>')


def class_name(name: str) -> Html:
    """A training class with its colour."""
    return Html(f'<span class="dot {text(name)}"></span>{text(name)}')
