"""A slide that a person names, or that a table lists: opened, refused in words, audited as `shards build` audits it.

Loads no torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlseg_core.errors import UserError
from shards.annotation import Annotation, Frame, read_annotation
from shards.audit import Audit
from shards.audit.inspect import BadSlide, inspect_annotated
from shards.config import ShardsConfig
from shards.reader import SlideReader, open_slide
from shards.scale import ScaleConflict, ScaleUnknown, check_fine_enough
from shards.slide_table import Slide


@contextmanager
def open_audited(
    slide: Slide, shards: ShardsConfig, high_mpp: float
) -> Iterator[tuple[SlideReader, Annotation | None, Audit]]:
    """A row of the slide table, with its annotation and audit. Raises BadSlide where cutting would quarantine it, UserError."""
    with open_slide(slide, high_mpp) as reader:
        annotation = (
            read_annotation(slide.annotation, shards, Frame.of(reader, slide.origin)) if slide.annotation else None
        )
        audit = inspect_annotated(reader, annotation, shards)
        why = audit.quarantined(shards.audit)
        if why is not None:
            raise BadSlide(why)
        yield reader, annotation, audit


def open_named(slide: Path, high_mpp: float, mpp: float | None = None, override: bool = False) -> SlideReader:
    """mpp: level-0 µm/px of a slide that does not say it, or says it wrongly, which `override` confirms. Raises UserError."""
    if not slide.exists():
        raise UserError("no such slide", slide, "Check the path.")
    if mpp is not None and not 0.01 < mpp < 100:
        raise UserError(f"{mpp:g} µm/px is no sensible resolution", "mpp", "Give µm per level-0 px, for example 0.25.")
    try:
        reader = SlideReader(slide, mpp, override=override)
    except ScaleUnknown as error:  # the reader speaks of the slide table, which has no part in this command
        raise UserError(error.what, slide, "Give it: --mpp 0.25 (what the scanner used).") from None
    except ScaleConflict as error:
        raise UserError(error.what, slide, "Leave --mpp out, or add --mpp-override if the file is wrong.") from None
    try:
        check_fine_enough(reader.mpp, high_mpp, slide, "the network")
    except UserError:
        reader.close()
        raise
    return reader
