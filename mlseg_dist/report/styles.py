"""The section about GAN style: how much of a patch's structure each pair of styles keeps, and pictures of it."""

from typing import Any

from mlseg_dist.report.html import Html, cell, details, head_cell, join, number, picture, section, table, text
from mlseg_dist.report.sources import Sources


def styled_views(sources: Sources) -> Html | None:
    """None for a campaign without gan_style."""
    if sources.styled is None:
        return None
    lead = (
        "Generators show patches of the train split as another scanner or source would; steps with gan_style draw them in "
        "place of the slide's own. SSIM of luminance before and after: 1 keeps all structure."
    )
    sheets = [
        details(f"{made['source']} → {made['target']}: patches, styled, and the target's own", _sheet(made))
        for made in sources.styled["generators"]
        if made["sheet"].is_file()
    ]
    return section("Views in other styles", lead, _pairs(sources.styled), *sheets)


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


def _sheet(made: dict[str, Any]) -> Html:
    shown = picture(made["sheet"].read_bytes(), "jpeg", f"{made['source']} styled as {made['target']}")
    return Html(f"<figure>{shown}</figure>")
