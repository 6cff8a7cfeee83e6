"""Templates of pages. In: a folder of template files, values. Out: Html, in which every value that was not Html is escaped."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup as Html

_HERE = Path(__file__).parent


class Templates:
    """The templates in one folder, which may extend and import those that all pages share.

    A value that a template names and was not given raises jinja2.UndefinedError: no page silently shows less.
    """

    def __init__(self, folder: Path) -> None:
        self._environment = Environment(
            loader=FileSystemLoader([folder, _HERE / "templates"]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "anchor": anchor,
            "prose": prose,
            "count": count,
            "percent": percent,
            "place": place,
        }
        style_sheet = (_HERE / "style.css").read_text(encoding="utf-8")
        self._environment.globals["style_sheet"] = Html(style_sheet)  # noqa: S704 - a file of ours

    def page(self, file: str, **values: Any) -> str:
        """A whole page."""
        return self._environment.get_template(file).render(values)

    def macros(self, file: str) -> Any:
        """The macros of a template as functions that return Html."""
        return self._environment.get_template(file).module


def anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def prose(said: str) -> Html:
    """Sentences; what stands between backticks is set as code."""
    plain_then_code = re.split(r"`([^`]+)`", said)
    return Html("").join(Html("<code>{}</code>").format(one) if n % 2 else one for n, one in enumerate(plain_then_code))


def count(number: int) -> str:
    """Thousands set apart; a dash for none."""
    return f"{number:,}" if number else "–"


def percent(share: float) -> str:
    """`4.2 %` below a tenth, `42 %` above."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def place(share: float | None) -> str:
    """A position or length in a style attribute: a share of the whole, cut to 0 to 1."""
    return f"{100 * min(max(share or 0.0, 0.0), 1.0):.1f}%"
