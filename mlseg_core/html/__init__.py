"""The one kit for all HTML pages. Markup is in template files; Python hands them data, and all that is not Html is escaped.

templates  finds the templates of a page and those that all pages share; numbers as the pages write them
elements   sections, tables, figures, pictures: what the pages' Python calls
style.css  the style sheet of all pages
"""

from mlseg_core.html.elements import (
    Cell,
    Row,
    Section,
    data_uri,
    details,
    dotted,
    figure,
    grid,
    head_row,
    heading,
    image,
    join,
    left,
    legend,
    note,
    table,
    tagged,
    warning,
)
from mlseg_core.html.templates import Html, Templates, count, percent

__all__ = [
    "Cell",
    "Html",
    "Row",
    "Section",
    "Templates",
    "count",
    "data_uri",
    "details",
    "dotted",
    "figure",
    "grid",
    "head_row",
    "heading",
    "image",
    "join",
    "left",
    "legend",
    "note",
    "percent",
    "table",
    "tagged",
    "warning",
]
