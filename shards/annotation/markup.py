"""XML annotations -> Drawing: one pass without a tree, the format told by the root element.

Document type declarations are refused, so no entity is ever expanded or fetched.
"""

from typing import BinaryIO
from xml.sax import ContentHandler, SAXException  # the names only; defusedxml parses

import defusedxml.sax
from defusedxml.common import DefusedXmlException

from shards.annotation.aperio import AperioReader
from shards.annotation.asap import AsapReader
from shards.annotation.drawing import Attributes, Drawing, XmlReader

_READERS: dict[str, type[XmlReader]] = {"ASAP_Annotations": AsapReader, "Annotations": AperioReader}


def parse_xml(stream: BinaryIO) -> Drawing:
    """ASAP, Aperio ImageScope or HALO. Raises ValueError."""
    handler = _Dispatch()
    try:
        defusedxml.sax.parse(stream, handler, forbid_dtd=True)
    except DefusedXmlException:
        raise ValueError("the XML declares a document type or entities, which annotations never do") from None
    except SAXException as error:
        raise ValueError(f"not valid XML ({error.getMessage()})") from None
    except LookupError as error:
        raise ValueError(f"not valid XML ({error})") from None
    assert handler.reader is not None, "valid XML has a root"
    return handler.reader.drawing


class _Dispatch(ContentHandler):
    reader: XmlReader | None = None

    def startElement(self, name: str, attrs: Attributes) -> None:
        if self.reader is None:
            if name not in _READERS:
                raise ValueError(f"<{name[:40]}> opens no annotation of ASAP, Aperio ImageScope or HALO")
            self.reader = _READERS[name]()
        self.reader.start(name, attrs)

    def endElement(self, name: str) -> None:
        assert self.reader is not None
        self.reader.end(name)
