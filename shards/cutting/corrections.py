"""What recipe 6 cuts in another way than recipe 5 did, slide by slide: for `regenerate`, which asks before it cuts again.

In: a slide that recipe 5 cut and that has not changed since. Out: one reason for each correction that concerns it.
"""

from collections.abc import Iterator
from pathlib import Path

from mlseg_core.errors import UserError
from shards.annotation import AnnotationFile, Frame, read_annotation
from shards.annotation.planes import OTHER_PLANE
from shards.audit import audit_slide
from shards.audit.labels import with_labels
from shards.config import ShardsConfig
from shards.cutting.inputs import took_value_for_name
from shards.pyramids import read_differently
from shards.reader import open_slide
from shards.slide_table import Slide


def corrections(config: ShardsConfig, slide: Slide, thorough: bool) -> list[str]:
    """Why the slide would give other shards today. It opens the slide and its annotation.

    thorough: also detects tissue, which takes a second or two, and asks whether the labels lie on it.
    """
    try:
        return list(_concerning(config, slide, thorough))
    except UserError as error:
        return [f"it would be refused today: {error}"]


def _concerning(config: ShardsConfig, slide: Slide, thorough: bool) -> Iterator[str]:
    if took_value_for_name(config, slide):
        yield "edits of its class map may have been missed: it has a class that is named like a value in mask_classes"
    if differs := read_differently(slide.slide, slide.mpp):
        yield differs
    with open_slide(slide, config.high_mpp) as reader:
        if slide.annotation is None:
            return
        frame = Frame.of(reader, slide.origin)
        found = label_corrections(slide.annotation, config, frame)
        yield from found
        if thorough and not found:
            annotation = read_annotation(slide.annotation, config, frame)
            audit = audit_slide(reader, config.tissue, config.audit)
            before, now = audit, with_labels(audit, annotation, config, frame.scanned)
            if not before.quarantined(config.audit) and (why := now.quarantined(config.audit)):
                yield f"it would be put into quarantine today: {why}"


def label_corrections(path: Path, config: ShardsConfig, frame: Frame) -> tuple[str, ...]:
    """Why the labels of a slide that was cut with RECIPE 5 would differ today, in words; empty: they would not.

    The words complete "this slide has to be cut again: …". They concern where annotations lie, and nothing else.
    """
    try:
        annotation = read_annotation(path, config, frame)
    except UserError as error:
        return (f"its annotation is refused now ({error.what})",)
    found = []
    if annotation.placement.offset != (0.0, 0.0):
        found.append(f"its annotation is counted from {annotation.placement} now, not from level 0")
    if AnnotationFile(path).has_nested_holes(config):
        found.append("its holes are cut from every region that they lie in now, not from the smallest alone")
    left_out = sum(count for kind, count in annotation.ignored.items() if kind.startswith(OTHER_PLANE))
    if left_out:
        found.append(f"its shapes on other planes ({left_out}) are left out now, not merged")
    return tuple(found)
