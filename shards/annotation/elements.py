"""What the readers of XML formats share: an element's attributes and the numbers in them."""

from typing import Protocol
from xml.sax.xmlreader import AttributesImpl as Attributes  # a type; defusedxml parses

from shards.annotation.drawing import Drawing


class XmlReader(Protocol):
    """Takes the elements of one file in order and fills its drawing. Raises ValueError."""

    drawing: Drawing

    def start(self, tag: str, attributes: Attributes) -> None: ...
    def end(self, tag: str) -> None: ...


def number(attributes: Attributes, name: str) -> float:
    """An attribute's value. Raises ValueError."""
    try:
        return float(attributes[name])
    except (KeyError, ValueError):
        raise ValueError(f"{name} is {attributes.get(name, '')[:40]!r}, not a number") from None
