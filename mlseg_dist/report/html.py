"""Pieces of HTML. Text from names and files is escaped here; strings of type Html are finished and stay as they are."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NewType

Html = NewType("Html", str)


def text(value: object) -> Html:
    return Html(html.escape(str(value), quote=True))


def join(parts: Iterable[Html], between: str = "\n") -> Html:
    return Html(between.join(parts))


def number(value: float | None, digits: int = 3) -> Html:
    """A share or IoU; a dash where it is not defined."""
    return Html("–" if value is None else f"{value:.{digits}f}")


def signed(value: float | None, digits: int = 3) -> Html:
    return Html("–" if value is None else f"{value:+.{digits}f}".replace("-", "−"))


def picture(data: bytes, kind: str, alt: str, classes: str = "") -> Html:
    """An image inside the page. kind: svg+xml, png, jpeg."""
    encoded = base64.b64encode(data).decode()
    return Html(f'<img class="{classes}" alt="{text(alt)}" src="data:image/{kind};base64,{encoded}">')


def figure(svg: bytes, alt: str) -> Html:
    return Html(f"<figure>{picture(svg, 'svg+xml', alt)}</figure>")


def section(title: str, lead: str, *body: Html) -> Html:
    """lead: one plain sentence under the heading."""
    note = f'<p class="lead">{text(lead)}</p>' if lead else ""
    return Html(f"<section><h2>{text(title)}</h2>{note}{join(body)}</section>")


def details(title: str, body: Html) -> Html:
    return Html(f"<details><summary>{text(title)}</summary>{body}</details>")


def grid(items: Iterable[Html], classes: str = "two") -> Html:
    return Html(f'<div class="grid {classes}">{join(items)}</div>')


def table(head: Sequence[Sequence[Html]], body: Sequence[Html], classes: str = "") -> Html:
    """head: rows of finished cells; body: finished rows."""
    rows = join(Html(f"<tr>{join(cells, '')}</tr>") for cells in head)
    scroll = (
        f'<div class="scroll"><table class="{classes}"><thead>{rows}</thead><tbody>{join(body)}</tbody></table></div>'
    )
    return Html(scroll)


def cell(content: Html, classes: str = "", span: int = 1, tag: str = "td", style: str = "") -> Html:
    attributes = "".join(f' {name}="{value}"' for name, value in (("class", classes), ("style", style)) if value) + (
        f' colspan="{span}"' if span > 1 else ""
    )
    return Html(f"<{tag}{attributes}>{content}</{tag}>")


def head_cell(content: Html, classes: str = "", span: int = 1) -> Html:
    return cell(content, classes, span, "th")
