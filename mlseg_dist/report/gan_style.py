"""The section about GAN style: how much of a patch's structure each pair of styles keeps, and pictures of it."""

from typing import Any

from mlseg_core.html import Html, Section, details, left, table
from mlseg_dist.report.elements import made
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import share


def styled_views(sources: Sources, pictures: Pictures) -> Section | None:
    """None for a campaign without gan_style."""
    if sources.styled is None:
        return None
    lead = (
        "Generators show patches of the train split as another scanner or source would; steps with gan_style draw them in "
        "place of the slide's own. SSIM of luminance before and after: 1 keeps all structure."
    )
    sheets = [_sheet(place, pair, pictures) for place, pair in enumerate(sources.styled["generators"])]
    shown = [sheet for sheet in sheets if sheet is not None]
    return Section("Views in other styles", lead, [_pairs(sources.styled), *shown])


def _pairs(styled: dict[str, Any]) -> Html:
    head = [left("source → target"), "mean SSIM", "least of a patch", "steps", left("")]
    rows = []
    for pair in styled["generators"]:
        name = f"{pair['source']} -> {pair['target']}"
        kept = styled["ssim"].get(name, {})
        said = "left out: it keeps too little" if name in styled["left_out"] else ""
        figures = [share(kept.get("mean")), share(kept.get("least")), f"{pair['steps']:,}"]
        rows.append([left(name.replace("->", "→")), *figures, left(said)])
    return table([head], rows)


def _sheet(place: int, pair: dict[str, Any], pictures: Pictures) -> Html | None:
    shown = pictures.show(pair["sheet"], f"style-{place:02d}", f"{pair['source']} styled as {pair['target']}")
    if shown is None:
        return None
    title = f"{pair['source']} → {pair['target']}: patches, styled, and the target's own"
    return details(title, made.sheet(shown))
