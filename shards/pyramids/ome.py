"""What a TIFF says of its images: OME-XML with their names, sizes, µm/px and channels; ImageJ's description; resolution tags."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
import tifffile

from shards.pyramids.pyramid import is_tiff

_OME = re.compile(r"<(\w+:)?OME[\s>]")
_UM = {
    "pm": 1e-6,
    "Å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "um": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "thou": 25.4,
    "in": 25400.0,
    "inch": 25400.0,
}
"""Lengths of OME and ImageJ, as um_per spells them."""
_FLUORESCENCE = ("Fluor", "EmissionWavelength", "ExcitationWavelength")
_RGB = {0xFF0000: 0, 0x00FF00: 1, 0x0000FF: 2}


@dataclass(frozen=True)
class OmeImage:
    """One image of an OME-TIFF.

    size: (width, height) px.  mpp: µm/px (x, y), None where it is not said in full.  is_silent: nothing is said of it.
    channels: the XML attributes of each channel.
    """

    name: str
    size: tuple[int, int]
    mpp: tuple[float, float] | None
    is_silent: bool
    channels: tuple[dict[str, str], ...]

    @property
    def is_fluorescence(self) -> bool:
        said = [channel.get("ContrastMethod", "") + channel.get("IlluminationType", "") for channel in self.channels]
        return any(name in channel for channel in self.channels for name in _FLUORESCENCE) or any(
            "fluorescence" in text.lower() for text in said
        )

    @property
    def order(self) -> tuple[int, int, int]:
        """Which of three channels is red, green and blue: as their colours say, else as they come."""
        colours = [_RGB.get(_colour(channel.get("Color", "-1"))) for channel in self.channels]
        if sorted(colours, key=lambda colour: -1 if colour is None else colour) != [0, 1, 2]:
            return 0, 1, 2
        return colours.index(0), colours.index(1), colours.index(2)


def is_ome(path: Path) -> bool:
    """Whether the file is a TIFF whose first description is OME-XML."""
    try:
        if not is_tiff(path):
            return False
        with tifffile.TiffFile(path) as file:
            return has_ome_xml(file)
    except Exception:  # a file that cannot be read says nothing; opening it will tell why
        return False


def has_ome_xml(file: tifffile.TiffFile) -> bool:
    description = file.pages.first.description
    return description.lstrip("\ufeff \r\n\t").startswith("<") and _OME.search(description[:8192]) is not None


def ome_images(file: tifffile.TiffFile) -> list[OmeImage]:
    """All images, in the file's order; none when the XML cannot be read."""
    try:
        root = defusedxml.ElementTree.fromstring(file.pages.first.description.strip("\0 \r\n\t"))
        return [
            _image(image, pixels) for image in root.iter() if _is(image, "Image") for pixels in _all(image, "Pixels")
        ]
    except (SyntaxError, ValueError, KeyError):
        return []


def _image(image: Any, pixels: Any) -> OmeImage:
    said = {key: value for key, value in pixels.attrib.items() if key in ("PhysicalSizeX", "PhysicalSizeY")}
    channels = tuple(dict(channel.attrib) for channel in _all(pixels, "Channel"))
    size = (int(pixels.attrib["SizeX"]), int(pixels.attrib["SizeY"]))
    return OmeImage(image.attrib.get("Name", ""), size, _mpp(pixels.attrib), not said, channels)


def _mpp(attributes: dict[str, str]) -> tuple[float, float] | None:
    try:
        x, y = (
            float(attributes[f"PhysicalSize{axis}"]) * (um_per(attributes.get(f"PhysicalSize{axis}Unit", "µm")) or nan)
            for axis in "XY"
        )
    except (ValueError, KeyError):
        return None
    return (x, y) if x == x and y == y else None


def um_per(unit: Any) -> float | None:
    """µm in a unit of length; None for a unit that is not known.

    Å and µ each have two code points. ImageJ spells µ out, and words may be plural and of either case.
    """
    spelt = unicodedata.normalize("NFKC", str(unit).replace("\\u00B5", "µ")).strip()  # Å U+212B -> U+00C5, µ -> Greek μ
    spelt = spelt.replace("\u03bc", "u").replace("metre", "meter")
    if len(spelt) > 2:
        spelt = (
            spelt.casefold()
            .removesuffix("es" if spelt.casefold() == "inches" else "s")
            .replace("ångström", "angstrom")
            .replace("ångstrom", "angstrom")
        )
    return _UM.get(spelt)


def _colour(text: str) -> int:
    """Red, green and blue of a signed 32-bit RGBA number; -1 where none is meant."""
    try:
        number = int(text)
    except ValueError:
        return -1
    return -1 if number == -1 else (number & 0xFFFFFFFF) >> 8


def _is(element: Any, name: str) -> bool:
    return isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name


def _all(element: Any, name: str) -> Iterator[Any]:
    return (child for child in element if _is(child, name))


_RESOLUTION_UNIT_UM = {2: 25400.0, 3: 10000.0}  # TIFF ResolutionUnit: inch, centimetre
_PRINT_DPI = (72, 96, 150, 200, 300, 600, 1200)
_SAME = 1e-4


def is_print_resolution(mpp: tuple[float, float]) -> bool:
    """Whether one of the axes has a resolution that programs write for printers, which says nothing of the slide."""
    return any(abs(25400 / value / dpi - 1) < _SAME for value in mpp if value > 0 for dpi in _PRINT_DPI)


def stated_mpp(file: tifffile.TiffFile, page: tifffile.TiffPage, images: list[OmeImage]) -> tuple[float, float] | None:
    """Level-0 µm/px (x, y), or None. page: level 0; images: its entries in the OME-XML, if there are any.

    OME-XML that gives a size without a known unit, or of one axis only, is not completed from the tags.
    """
    if any(not image.is_silent for image in images):
        sizes = {image.mpp for image in images}
        return sizes.pop() if len(sizes) == 1 else None
    if file.is_imagej and not images:
        per_unit = um_per((file.imagej_metadata or {}).get("unit", ""))
        if per_unit is not None:
            return _tag_mpp(page, per_unit)
    mpp = _tag_mpp(page, _RESOLUTION_UNIT_UM.get(page.tags.valueof("ResolutionUnit", 1)))
    return None if mpp is None or is_print_resolution(mpp) else mpp


def _tag_mpp(page: tifffile.TiffPage, unit_um: float | None) -> tuple[float, float] | None:
    sizes = [page.tags.valueof(name, (0, 1)) for name in ("XResolution", "YResolution")]
    if unit_um is None or any(not count or not per for count, per in sizes):
        return None
    return unit_um * sizes[0][1] / sizes[0][0], unit_um * sizes[1][1] / sizes[1][0]
