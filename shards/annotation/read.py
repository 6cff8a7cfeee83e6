"""Opens an annotation file of any supported format, told by its content, and maps its classes.

A path, the classes of the config and the slide's size and µm/px come in; an Annotation goes out.
"""

import gzip
import io
import zlib
from collections import Counter
from pathlib import Path

from mlseg_core.errors import UserError
from shards.annotation.drawing import Drawing
from shards.annotation.geojson import parse_geojson
from shards.annotation.interface import Annotation
from shards.annotation.markup import parse_xml
from shards.annotation.mask import LabelMask, mask_values
from shards.annotation.regions import Regions, is_hole
from shards.config import ShardsConfig
from shards.pyramids.pyramid import is_tiff

_MOST_BYTES = 1 << 29  # of text, unpacked
_MPP_TOLERANCE = 0.02
_FORMATS = "Give QuPath GeoJSON, ASAP, Aperio or HALO XML, or a label mask as PNG or TIFF."


def read_annotation(path: Path, config: ShardsConfig, size: tuple[int, int], mpp: tuple[float, float]) -> Annotation:
    """The annotation of a slide of `size` (width, height) level-0 px at `mpp` µm/px (x, y).

    Raises UserError: damaged or unknown file, names that nobody mapped (all of them), wrong scale, wrong slide.
    """
    if is_mask(path):
        return LabelMask(path, config, size)
    drawing = _drawing(path)
    _refuse_unmapped(drawing, config, path)
    _refuse_other_scale(drawing, mpp, path)
    regions = Regions(drawing, config, size)
    if regions.reach is not None and _is_off(regions.reach, size):
        x0, y0, x1, y1 = (round(edge) for edge in regions.reach)
        raise UserError(
            f"all of the annotation (x {x0} to {x1}, y {y0} to {y1}) lies off the slide of {size[0]} × {size[1]} px",
            path,
            "It belongs to another slide or was saved at another scale; export it in level-0 px.",
        )
    return regions


def classes_found(path: Path) -> set[str]:
    """All names that a class map can give a meaning to; of a mask, its values as text. Raises UserError."""
    if is_mask(path):
        return {str(value) for value in mask_values(path)}
    return {shape.name for shape in _drawing(path).shapes if not shape.hole}


def _refuse_unmapped(drawing: Drawing, config: ShardsConfig, path: Path) -> None:
    regions = [shape for shape in drawing.shapes if not is_hole(shape, drawing, config)]
    unmapped = Counter(shape.name for shape in regions if shape.name not in config.annotation_classes)
    if unmapped:
        listed = ", ".join(f"{name[:200]!r} ({count})" for name, count in sorted(unmapped.items()))
        raise UserError(
            f"annotation classes that nobody mapped: {listed}", path, "Add to annotation_classes in configs/classes/."
        )


def _refuse_other_scale(drawing: Drawing, mpp: tuple[float, float], path: Path) -> None:
    if drawing.mpp is None or not drawing.mpp > 0:  # ImageScope writes 0 where it knows none
        return
    slide = (mpp[0] * mpp[1]) ** 0.5
    if abs(drawing.mpp / slide - 1) > _MPP_TOLERANCE:
        raise UserError(
            f"drawn at {drawing.mpp:g} µm/px, the slide has {slide:g}",
            path,
            "It belongs to another slide, or the slide table's mpp is wrong.",
        )


def _is_off(reach: tuple[float, float, float, float], size: tuple[int, int]) -> bool:
    return reach[2] <= 0 or reach[3] <= 0 or reach[0] >= size[0] or reach[1] >= size[1]


def is_mask(path: Path) -> bool:
    """Whether the annotation is a label mask, PNG or TIFF, by its first bytes. Raises UserError."""
    try:
        with open(path, "rb") as file:
            return file.read(8) == b"\x89PNG\r\n\x1a\n" or is_tiff(path)
    except OSError as error:
        raise UserError(f"the annotation cannot be read ({error.strerror})", path, "Check the slide table.") from None


def _drawing(path: Path) -> Drawing:
    data = _text(path)
    first = data[:4096].lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1]  # past any byte order mark; UTF-16 too
    if first not in (b"<", b"{", b"["):
        raise UserError("not an annotation" if data.strip() else "the file is empty", path, _FORMATS)
    try:
        return parse_xml(io.BytesIO(data)) if first == b"<" else parse_geojson(data)
    except RecursionError:
        raise UserError("the annotation cannot be read (nested too deep)", path, _FORMATS) from None
    except ValueError as error:
        raise UserError(f"the annotation cannot be read ({error})", path, "Export it again.") from None


def _text(path: Path) -> bytes:
    """The file's bytes, unpacked. Raises UserError."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = gzip.GzipFile(fileobj=file).read(_MOST_BYTES + 1) if packed else file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"the annotation cannot be read ({error})", path, "Export it again.") from None
    if len(data) > _MOST_BYTES:
        raise UserError(f"over {_MOST_BYTES >> 20} MiB of text", path, "Export the annotations without detections.")
    return data
