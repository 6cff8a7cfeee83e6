"""index.html of the augmentation: one page that needs nothing but itself. In: sources, seed. Out: its text and the PNGs."""

import cv2
import numpy as np
from pydantic import TypeAdapter

from mlseg_core.config import Strict
from mlseg_dist.augment.albumentations_ops import AlbumentationsOp
from mlseg_dist.augment.parameters import OPS
from mlseg_dist.augment.policy import OpConfig, PolicyConfig
from mlseg_dist.augment.show import sheets, spread
from mlseg_dist.augment.show.sources import Sources
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import CLASSES
from mlseg_dist.report.css import CSS
from mlseg_dist.report.html import Html, join, picture, section, text
from shards.sample import encode_jpeg

DRAWS_OF_POLICY, DRAWS_OF_OP = 6, 3
_JPEG_QUALITY = 88
_MORE_CSS = """
figure.sheet { margin: 14px 0 4px; overflow-x: auto; } figure.sheet img { width: auto; max-width: 100%; min-width: 560px; }
.ops { display: grid; gap: 20px 28px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); }
.ops figure.sheet { margin: 6px 0 0; } .ops figure.sheet img { min-width: 0; width: 100%; }
.ops h3 { margin: 0; } .ops p { margin: 0; font-size: 13px; color: var(--muted); }
"""


def render(sources: Sources, seed: int) -> tuple[str, dict[str, bytes]]:
    """The page, and its pictures as PNG by file name."""
    pictures: dict[str, bytes] = {}
    body = join([_head(sources, seed), _policies(sources, seed, pictures), _spread(sources, seed, pictures)])
    body = join([body, _ops(sources, seed, pictures)])
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(sources.config.name)} – mlseg augmentation</title><style>{CSS}{_MORE_CSS}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
    return page, pictures


def _head(sources: Sources, seed: int) -> Html:
    slide, patch = sources.slides[sources.chosen], sources.config.train.patch_px
    shown = " · ".join(part for part in (slide.slide, slide.stain, slide.scanner, slide.source) if part)
    fields = ", ".join(f"{view} {patch * mpp:g} µm at {mpp:g} µm/px" for view, mpp in sources.mpp.items())
    legend = "".join(f'<span><i class="dot {name}"></i>{name}</span>' for name in CLASSES)
    said = (
        "One pair, again and again: first as stored, then as drawn; the high view above the low one, with the high view's field "
        "framed. Lines are borders of the labels; paled: not labelled, or no pixels there. Draws are those of training "
        f"with seed {seed}."
    )
    return Html(
        f'<header><p class="eyebrow">mlseg augmentation</p><h1>{text(sources.config.name)}</h1>'
        f'<p class="summary">{text(said)}</p><p class="lead">{text(shown)}. Views: {text(fields)}.</p>'
        f'<p class="legend">{legend}</p></header>'
    )


def _policies(sources: Sources, seed: int, pictures: dict[str, bytes]) -> Html:
    parts = []
    for names, step in sources.policies.items():
        drawn = sheets.sheet(sources, step.augment, seed, step.name, DRAWS_OF_POLICY)
        said = ", ".join(op.stream + (f" ({op.p:g})" if op.p < 1 else "") for op in step.augment) or "nothing"
        said += "; images of gan_style are shown by mlseg style show, not here" if reads_styled(step.augment) else ""
        parts.append(Html(f'<h3>{text(names)}</h3><p class="lead">{text(said)}</p>'))
        parts.append(_sheet(drawn, f"draws of {names}", f"policy-{step.name}.png", pictures))
    lead = "What each step's network sees. In brackets: the probability of an op that does not always come."
    return section("Policies of the steps", lead, *parts)


def _spread(sources: Sources, seed: int, pictures: dict[str, bytes]) -> Html:
    pictures["spread.png"] = spread.figure(spread.spreads(sources, seed))
    lead = (
        f"Pixels of {len(sources.views)} low views, as stored and after {spread.DRAWS} draws of each policy. The angle is hue, "
        "the distance from the centre saturation (0 to 255 at the rim), the shade how many pixels lie there (logarithmic). "
        "Under each disc: circular standard deviation of hue, and S from the 5th to the 95th percentile, of coloured pixels."
    )
    shown = picture(pictures["spread.png"], "png", "hue and saturation before and after augmentation")
    return section("Spread of hue and saturation", lead, Html(f"<figure>{shown}</figure>"))


def _ops(sources: Sources, seed: int, pictures: dict[str, bytes]) -> Html:
    configured: dict[str, OpConfig] = {}
    for step in sources.config.steps:
        configured = {op.stream: op for op in step.augment} | configured
    cards = []
    for name in (*OPS, *(name for name, op in configured.items() if isinstance(op, AlbumentationsOp))):
        (op,) = TypeAdapter(PolicyConfig).validate_python((configured.get(name) or {"op": name},))
        drawn = sheets.sheet(sources, (op.model_copy(update={"p": 1.0}),), seed, "alone", DRAWS_OF_OP)
        shown = _sheet(drawn, f"draws of {name} alone", f"op-{name.replace(' ', '-')}.png", pictures)
        origin = "" if name in configured else " No step of this config uses it: its defaults."
        said = f"<p>{text(_sentence(op))}</p><p><code>{text(_strengths(op))}</code>{text(origin)}</p>"
        cards.append(Html(f"<div><h3>{text(name)}</h3>{said}{shown}</div>"))
    lead = "Each always drawn here, at the strengths of the first step that uses it. Lengths are in µm, so that both views agree."
    return section("Every op alone", lead, Html(f'<div class="ops">{join(cards)}</div>'))


def _sentence(op: Strict) -> str:
    """The first paragraph of what the op says of itself."""
    return " ".join((type(op).__doc__ or "").split("\n\n")[0].replace("`", "").split())


def _strengths(op: Strict) -> str:
    fields = op.model_dump(mode="json", exclude={"op", "p", "axes", "spread"})
    return ", ".join(f"{name} {_plain(value)}" for name, value in fields.items())


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_plain(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_plain(part) for part in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sheet(drawn: np.ndarray, alt: str, name: str, pictures: dict[str, bytes]) -> Html:
    pictures[name] = cv2.imencode(".png", drawn[..., ::-1])[1].tobytes()
    shown = picture(encode_jpeg(drawn, _JPEG_QUALITY), "jpeg", alt)
    return Html(f'<figure class="sheet">{shown}</figure>')
