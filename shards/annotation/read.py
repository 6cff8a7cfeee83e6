"""Opens an annotation file of any supported format, told by its content, and maps its classes.

A path, the classes of the config and the frame of the slide come in; an Annotation goes out.
"""

import gzip
import io
import zlib
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from mlseg_core.errors import UserError
from shards.annotation.drawing import Drawing
from shards.annotation.geojson import parse_geojson
from shards.annotation.interface import Annotation
from shards.annotation.markup import parse_xml
from shards.annotation.mask import LabelMask, mask_values
from shards.annotation.origin import Frame, Placement, place
from shards.annotation.planes import keep_one_plane
from shards.annotation.regions import Regions, has_nested_holes, is_hole
from shards.config import IGNORED, ShardsConfig
from shards.pyramids.pyramid import is_tiff
from shards.regular_files import require_regular

_MOST_BYTES = 1 << 29  # of text, unpacked
_MPP_TOLERANCE = 0.02
_MOST_OFF_SLIDE = 0.5  # share of the annotated area; people draw over the edge, but not by half
_FORMATS = "Give QuPath GeoJSON, ASAP, Aperio or HALO XML, or a label mask as PNG or TIFF."


class AnnotationFile:
    """An annotation file: its class names, then its annotation, with the file parsed once for both."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._drawing: Drawing | None = None

    @cached_property
    def is_mask(self) -> bool:
        """Whether it is a label mask. Raises UserError."""
        return is_mask(self.path)

    @cached_property
    def names(self) -> frozenset[str]:
        """All names that a class map can give a meaning to; of a mask, its values as text. Raises UserError."""
        if self.is_mask:
            return frozenset(str(value) for value in mask_values(self.path))
        self._drawing = _drawing(self.path)
        return frozenset(shape.name for shape in self._drawing.shapes if not shape.hole)

    def has_nested_holes(self, config: ShardsConfig) -> bool:
        """Whether it has holes of their own that lie in more than one region. Raises UserError."""
        return not self.is_mask and bool(self.names) and has_nested_holes(self._drawing or _drawing(self.path), config)

    def read(self, config: ShardsConfig, frame: Frame) -> Annotation:
        """The annotation of the slide that `frame` describes, laid on its level 0.

        Raises UserError: damaged or unknown file, names that nobody mapped (all of them), wrong scale, wrong slide, more
        than half of it off the slide, shapes on several planes.
        """
        path = self.path
        if self.is_mask:
            return LabelMask(path, config, frame)
        drawing, self._drawing = self._drawing or _drawing(path), None  # laying it changes it
        placement = _lay(drawing, config, frame, path)
        _refuse_unmapped(drawing, config, path)
        _refuse_other_scale(drawing, frame.mpp, path)
        regions = Regions(drawing, config, frame.size, placement)
        _refuse_off_slide(regions, frame, path)
        return regions


def read_annotation(path: Path, config: ShardsConfig, frame: Frame) -> Annotation:
    """AnnotationFile.read for one who needs nothing else of the file. Raises UserError."""
    return AnnotationFile(path).read(config, frame)


def _lay(drawing: Drawing, config: ShardsConfig, frame: Frame, path: Path) -> Placement:
    """Keep the shapes of one plane and count their coordinates from level 0. Raises UserError."""
    try:
        plane = keep_one_plane(drawing, lambda shape: config.annotation_classes.get(shape.name) != IGNORED)
    except ValueError as error:
        raise UserError(
            str(error), path, "Slides are read at one focal plane: export the shapes of one plane."
        ) from None
    placement = replace(place(drawing.format, frame.bounds, frame.origin), plane=plane)
    drawing.move(placement.offset)
    return placement


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


def _refuse_off_slide(regions: Regions, frame: Frame, path: Path) -> None:
    off = regions.off(frame.scanned)
    if regions.reach is None or off.share <= _MOST_OFF_SLIDE:
        return
    x0, y0, x1, y1 = (round(edge) for edge in regions.reach)
    share = "all" if off.mostly == off.regions and off.share > 0.9995 else f"{off.share:.0%}"
    slide = f"the slide of {frame.size[0]} × {frame.size[1]} px"
    fix = "It belongs to another slide or was saved at another scale; export it in level-0 px."
    if frame.bounds is not None:
        left, top, right, bottom = (round(edge) for edge in frame.scanned)
        slide = f"the scanned part (x {left} to {right}, y {top} to {bottom}) of {slide}"
        fix = (
            f"Its coordinates were counted from {regions.placement}: if that is wrong, say level0 or bounds in column "
            "origin of the slide table; else it belongs to another slide or was saved at another scale."
        )
    raise UserError(f"{share} of the annotation (x {x0} to {x1}, y {y0} to {y1}) lies off {slide}", path, fix)


def is_mask(path: Path) -> bool:
    """Whether the annotation is a label mask, PNG or TIFF, by its first bytes. Raises UserError."""
    try:
        require_regular(path)
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
