"""index.html. In: sources, checks, and where pictures go. Out: its text, whose sections stand in the order below."""

from typing import Any

from mlseg_core.html import Section
from mlseg_dist.report.augmentation import augmentation
from mlseg_dist.report.classes import bad_regions, boundaries, confusion, fine_classes
from mlseg_dist.report.corpus import corpus
from mlseg_dist.report.domains import domains
from mlseg_dist.report.elements import TEMPLATES
from mlseg_dist.report.examples import examples, heat_maps, training
from mlseg_dist.report.features import deep_features
from mlseg_dist.report.gan_style import styled_views
from mlseg_dist.report.headline import headline
from mlseg_dist.report.ladder import checks_part, results
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.probabilities import calibration, one_against_rest
from mlseg_dist.report.provenance import by_hand, openings, provenance
from mlseg_dist.report.rounds import labels_accepted
from mlseg_dist.report.slides import slides
from mlseg_dist.report.sources import Sources


def render(sources: Sources, checks: dict[str, Any], pictures: Pictures) -> str:
    """The whole page; photographs are handed to `pictures`."""
    return TEMPLATES.page(
        "report.html",
        kind="report",
        name=sources.config.name,
        headline=headline(sources, checks),
        parts=[part for part in _parts(sources, checks, pictures) if part is not None],
        is_single_file=pictures.inside,
    )


def _parts(sources: Sources, checks: dict[str, Any], pictures: Pictures) -> list[Section | None]:
    return [
        results(sources),
        checks_part(checks) if sources.evaluation else None,
        domains(sources),
        fine_classes(sources),
        bad_regions(sources),
        slides(sources, pictures),
        calibration(sources),
        boundaries(sources),
        one_against_rest(sources),
        confusion(sources),
        training(sources),
        examples(sources, pictures),
        heat_maps(sources, pictures),
        deep_features(sources),
        labels_accepted(sources, pictures),
        styled_views(sources, pictures),
        corpus(sources),
        augmentation(sources, pictures),
        by_hand(sources),
        openings(sources),
        provenance(sources),
    ]
