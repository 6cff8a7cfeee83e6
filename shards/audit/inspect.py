"""What is asked of a slide before any of its pixels are used, to cut samples from it or to predict it."""

from shards.annotation import Annotation, Frame
from shards.audit.config import AuditConfig, TissueConfig
from shards.audit.labels import with_labels
from shards.audit.slide import Audit, audit_slide
from shards.config import ShardsConfig
from shards.reader import SlideReader

MOST_UNREADABLE = 0.01
"""At most this share of a slide, and of its patches, may be impossible to decode."""


class BadSlide(Exception):
    """The slide cannot be used as it is; it belongs in quarantine."""


def inspect_slide(reader: SlideReader, tissue: TissueConfig, audit: AuditConfig) -> Audit:
    """The slide's audit; `quarantined` says whether the policy allows its use. Raises BadSlide when too much is undecodable."""
    lost_share = reader.overview.lost_share
    if lost_share > MOST_UNREADABLE:
        raise BadSlide(f"{lost_share:.0%} of the slide cannot be decoded ({reader.lost_why})")
    return audit_slide(reader, tissue, audit)


def inspect_annotated(reader: SlideReader, annotation: Annotation | None, config: ShardsConfig) -> Audit:
    """inspect_slide, and how its labels lie on it. Raises BadSlide."""
    audit = inspect_slide(reader, config.tissue, config.audit)
    return audit if annotation is None else with_labels(audit, annotation, config, Frame.of(reader).scanned)


def check_unreadable(unreadable: int, patches: int, why: str) -> None:
    """Raises BadSlide when too many of a slide's patches cannot be decoded. why: it of one of them."""
    if unreadable > MOST_UNREADABLE * patches:
        raise BadSlide(f"{unreadable} of {patches} patches cannot be decoded ({why})")
