"""The section about the corpus: slides and patches by group, class and score (the paper's tables 4 and 5, figures 2 and 3)."""

from mlseg_core.html import Section, details, heading
from mlseg_dist.report.figure_ids import target
from mlseg_dist.report.sources import Sources
from shards.manifest import kept_manifest
from shards.show.charts import class_mix, score_charts
from shards.show.colours import class_colours, in_order
from shards.show.counts import values
from shards.show.sources import Corpus
from shards.show.tables import class_table, pixel_table, slides_table


def corpus(sources: Sources) -> Section | None:
    """None before there are shards."""
    path = sources.shards / "manifest.json"
    if not path.is_file():
        return None
    found = Corpus(sources.shards, kept_manifest(path), {}, {})
    colours = class_colours(found.manifest.classes)
    body = [
        heading("Slides and pairs"),
        target("slides-by-group"),
        slides_table(found),
        heading("Pairs by the class at their seed"),
        target("pairs-by-class"),
        class_table(found, colours),
        heading("Labelled pixels by class"),
        target("class-mix"),
        class_mix(found, colours),
        details("The same in numbers", pixel_table(found, colours)),
    ]
    scores = score_charts(found, in_order(values(found.manifest, "scanner")))
    if scores is not None:
        body += [heading("Slides by the pathologist's score"), target("scores"), scores]
    lead = "What the shards hold, by split. Pixels are counted as they lie in the patches, those of overlaps more than once."
    return Section("Corpus", lead, body)
