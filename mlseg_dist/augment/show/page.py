"""index.html of the augmentation: one page that needs nothing but itself. In: sources, seed. Out: its text and the PNGs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import TypeAdapter

from mlseg_core.config import Strict
from mlseg_core.html import Templates, data_uri
from mlseg_dist.augment.albumentations_ops import AlbumentationsOp
from mlseg_dist.augment.parameters import OPS
from mlseg_dist.augment.policy import OpConfig, PolicyConfig
from mlseg_dist.augment.show import sheets, spread
from mlseg_dist.augment.show.sources import Sources
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.report.look import CLASS_COLOURS
from shards.sample import encode_jpeg

DRAWS_OF_POLICY, DRAWS_OF_OP = 6, 3
_JPEG_QUALITY = 88
_TEMPLATES = Templates(Path(__file__).parent / "templates")


def render(sources: Sources, seed: int) -> tuple[str, dict[str, bytes]]:
    """The page, and its pictures as PNG by file name."""
    pictures: dict[str, bytes] = {}
    slide, patch = sources.slides[sources.chosen], sources.config.train.patch_px
    page = _TEMPLATES.page(
        "augmentation.html",
        kind="augmentation",
        name=sources.config.name,
        seed=seed,
        pair=" · ".join(part for part in (slide.slide, slide.stain, slide.scanner, slide.source) if part),
        fields=", ".join(f"{view} {patch * mpp:g} µm at {mpp:g} µm/px" for view, mpp in sources.mpp.items()),
        colours=CLASS_COLOURS,
        policies=_policies(sources, seed, pictures),
        spread=_spread(sources, seed, pictures),
        spread_lead=(
            f"Pixels of {len(sources.views)} low views, as stored and after {spread.DRAWS} draws of each policy. The angle is "
            "hue, the distance from the centre saturation (0 to 255 at the rim), the shade how many pixels lie there "
            "(logarithmic). Under each disc: circular standard deviation of hue, and S from the 5th to the 95th percentile, of "
            "coloured pixels."
        ),
        ops=_ops(sources, seed, pictures),
    )
    return page, pictures


def _policies(sources: Sources, seed: int, pictures: dict[str, bytes]) -> list[dict[str, str]]:
    found = []
    for names, step in sources.policies.items():
        drawn = sheets.sheet(sources, step.augment, seed, step.name, DRAWS_OF_POLICY)
        said = ", ".join(op.stream + (f" ({op.p:g})" if op.p < 1 else "") for op in step.augment) or "nothing"
        said += "; images of gan_style are shown by mlseg style show, not here" if reads_styled(step.augment) else ""
        source = _sheet(drawn, f"policy-{step.name}.png", pictures)
        found.append({"names": names, "said": said, "source": source})
    return found


def _spread(sources: Sources, seed: int, pictures: dict[str, bytes]) -> str:
    pictures["spread.png"] = spread.figure(spread.spreads(sources, seed))
    return data_uri(pictures["spread.png"], "png")


def _ops(sources: Sources, seed: int, pictures: dict[str, bytes]) -> list[dict[str, Any]]:
    configured: dict[str, OpConfig] = {}
    for step in sources.config.steps:
        configured = {op.stream: op for op in step.augment} | configured
    found = []
    for name in (*OPS, *(name for name, op in configured.items() if isinstance(op, AlbumentationsOp))):
        (op,) = TypeAdapter(PolicyConfig).validate_python((configured.get(name) or {"op": name},))
        drawn = sheets.sheet(sources, (op.model_copy(update={"p": 1.0}),), seed, "alone", DRAWS_OF_OP)
        source = _sheet(drawn, f"op-{name.replace(' ', '-')}.png", pictures)
        said = {"sentence": _sentence(op), "strengths": _strengths(op), "is_configured": name in configured}
        found.append({"name": name, "source": source, **said})
    return found


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


def _sheet(drawn: np.ndarray, name: str, pictures: dict[str, bytes]) -> str:
    """Keeps the sheet as PNG; returns it as a smaller picture for the page."""
    pictures[name] = cv2.imencode(".png", drawn[..., ::-1])[1].tobytes()
    return data_uri(encode_jpeg(drawn, _JPEG_QUALITY), "jpeg")
