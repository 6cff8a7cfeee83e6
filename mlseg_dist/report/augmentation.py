"""The section about augmentation: draws of each step's policy, and how far they spread hue and saturation (figure 7 of the paper).

Drawn from a few pairs of the corpus; without its shards, or in a corpus that does not fit the config, there is no such section.
"""

import io

from PIL import Image

from mlseg_core.errors import UserError
from mlseg_core.html import Html, Section, details, heading
from mlseg_dist.report.elements import made
from mlseg_dist.report.figure_ids import target
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import counted
from shards.tar import BadShard

DRAWS = 5
DRAWS_OF_SPREAD = 4
"""Draws of each pair: half of what `mlseg augment show` does, as the report is made often."""


def augmentation(sources: Sources, pictures: Pictures) -> Section | None:
    if not (sources.shards / "manifest.json").is_file():
        return None
    from mlseg_dist.augment.show import sheets, spread
    from mlseg_dist.augment.show.sources import read_sources

    config = sources.config
    try:
        shown = read_sources(config, sources.shards)
    except (UserError, BadShard, OSError, KeyError):  # the last: a manifest that does not say how large views are
        return None
    spreads = spread.spreads(shown, config.seed, DRAWS_OF_SPREAD)
    drawn = pictures.add(spread.figure(spreads), "hue-saturation", "Hue and saturation before and after augmentation")
    parts: list[Html] = [heading("Hue and saturation"), target("hue-saturation"), made.sheet(drawn)]
    parts += [heading("Draws of each policy"), target("augmentations")]
    for place, (names, step) in enumerate(shown.policies.items()):
        data = io.BytesIO()
        Image.fromarray(sheets.sheet(shown, step.augment, config.seed, step.name, DRAWS)).save(data, "PNG")
        sheet = made.sheet(pictures.add(data.getvalue(), f"augment-{place:02d}", f"Draws of {names}"))
        parts.append(details(names, sheet) if place else sheet)
    lead = (
        f"Pixels of {counted(len(shown.views), 'low view')} as stored and after {DRAWS_OF_SPREAD} draws of each policy: the angle "
        "is hue, the distance from the centre saturation, the shade how many pixels lie there. Below, one pair as stored and as "
        "drawn, high views above low ones. `mlseg augment show RUN` shows every operation."
    )
    return Section("Augmentation", lead, parts)
