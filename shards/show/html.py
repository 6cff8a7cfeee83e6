"""Pieces of HTML. Text from names and files is escaped here; strings of type Html are finished and stay as they are."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NewType

Html = NewType("Html", str)
NOTHING = Html("")


def text(value: object) -> Html:
    return Html(html.escape(str(value), quote=True))


def join(parts: Iterable[Html], between: str = "") -> Html:
    return Html(between.join(parts))


def section(title: str, lead: str, *body: Html) -> Html:
    """lead: one plain sentence under the heading."""
    return Html(f'<section><h2>{text(title)}</h2><p class="lead">{text(lead)}</p>{join(body)}</section>\n')


def details(title: str, body: Html) -> Html:
    return Html(f"<details><summary>{text(title)}</summary>{body}</details>")


def table(name: str, head: Sequence[Html], rows: Iterable[Html], over: Html = NOTHING) -> Html:
    """head, rows: finished cells of one row. name: the table's id. over: cells of a row over the head."""
    above = f"<tr>{over}</tr>" if over else ""
    body = join((Html(f"<tr>{row}</tr>") for row in rows), "\n")
    top = f"<thead>{above}<tr>{join(head)}</tr></thead>"
    return Html(f'<div class="scroll"><table id="{text(name)}">{top}<tbody>{body}</tbody></table></div>')


def cell(content: Html, classes: str = "", title: str = "") -> Html:
    attributes = f' class="{text(classes)}"' if classes else ""
    attributes += f' title="{text(title)}"' if title else ""
    return Html(f"<td{attributes}>{content}</td>")


def head(content: object, classes: str = "") -> Html:
    return Html(f'<th class="{classes}">{text(content)}</th>' if classes else f"<th>{text(content)}</th>")


def count(number: int) -> Html:
    """Thousands set apart; a dash for none."""
    return Html(f"{number:,}" if number else "–")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def dot(colour: str) -> Html:
    return Html(f'<i class="dot" style="background:{colour}"></i>')


def jpeg_uri(data: bytes) -> Html:
    return Html(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}")
