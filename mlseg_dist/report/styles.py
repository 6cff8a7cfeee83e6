"""The section about GAN style: how much of a patch's structure each pair of styles keeps, and pictures of it."""

from typing import Any

from mlseg_dist.report.html import Html, Part, cell, details, head_cell, join, number, part, table, text
from mlseg_dist.report.pictures import Pictures
from mlseg_dist.report.sources import Sources


def styled_views(sources: Sources, pictures: Pictures) -> Part | None:
    """None for a campaign without gan_style."""
    if sources.styled is None:
        return None
    lead = (
        "Generators show patches of the train split as another scanner or source would; steps with gan_style draw them in "
        "place of the slide's own. SSIM of luminance before and after: 1 keeps all structure."
    )
    sheets = [_sheet(place, made, pictures) for place, made in enumerate(sources.styled["generators"])]
    shown = [sheet for sheet in sheets if sheet is not None]
    return part("Views in other styles", lead, _pairs(sources.styled), *shown)


def _pairs(styled: dict[str, Any]) -> Html:
    titles = ("source → target", "mean SSIM", "least of a patch", "steps", "")
    head = [head_cell(text(title), "" if 0 < place < 4 else "left") for place, title in enumerate(titles)]
    rows = []
    for made in styled["generators"]:
        name = f"{made['source']} -> {made['target']}"
        kept = styled["ssim"].get(name, {})
        said = "left out: it keeps too little" if name in styled["left_out"] else ""
        cells = [
            cell(text(name.replace("->", "→")), "left"),
            cell(number(kept.get("mean"))),
            cell(number(kept.get("least"))),
        ]
        cells += [cell(text(f"{made['steps']:,}")), cell(text(said), "left")]
        rows.append(Html(f"<tr>{join(cells, '')}</tr>"))
    return table([head], rows)


def _sheet(place: int, made: dict[str, Any], pictures: Pictures) -> Html | None:
    shown = pictures.show(made["sheet"], f"style-{place:02d}", f"{made['source']} styled as {made['target']}")
    if shown is None:
        return None
    title = f"{made['source']} → {made['target']}: patches, styled, and the target's own"
    return details(title, Html(f"<figure>{shown}</figure>"))
