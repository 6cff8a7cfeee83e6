"""What a slide's shards depend on, part by part: a change of one part has a name, and touches only the slides it concerns."""

from dataclasses import asdict
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, sha256_file
from shards.annotation import AnnotationFile
from shards.config import ShardsConfig
from shards.regular_files import require_regular
from shards.slide_table import Slide

RECIPE = 6
"""Raise it when the same inputs give other bytes; say in corrections.py which slides that concerns."""
BEFORE = 5
"""The recipe before, whose corpora stay as they are until somebody asks for `regenerate`."""
_HOLES = "cut from every region around them"
_ROW_OF_RECIPE_5 = ("patient", "stain", "scanner", "source", "split", "mpp", "score")


def slide_inputs(
    config: ShardsConfig, slide: Slide, identity: str, annotation: AnnotationFile | None, recipe: int = RECIPE
) -> dict[str, str]:
    """Part -> its hash or value, as `recipe` counted them. identity: of the slide's files (identity.py). annotation: the slide's.

    An annotation that cannot be read is a part too: cutting will say what is wrong with it.
    """
    row = {k: v for k, v in asdict(slide).items() if k not in ("slide", "annotation", "known_as")}
    if recipe == BEFORE:
        since = {name: row[name] for name in ("origin", "mpp_override") if row[name]}
        row = {name: row[name] for name in _ROW_OF_RECIPE_5} | since
    views = config.model_dump(mode="json", include={"high_mpp", "low_mpp", "store_px", "jpeg_quality"})
    sampling = config.model_dump(
        mode="json",
        include={"stride_um", "tissue_stride_um", "max_per_class", "max_tissue", "samples_per_shard", "seed"},
    )
    parts: dict[str, Any] = {
        "recipe": recipe,
        "name": slide.slug,
        "row": row,
        "slide": identity,
        "views": views,
        "sampling": sampling,
        "tissue": config.tissue.model_dump(mode="json"),
        "audit": config.audit.model_dump(mode="json"),
    }
    if annotation is not None:
        try:
            require_regular(annotation.path)
            parts["annotation"] = sha256_file(annotation.path)
        except OSError as error:
            parts["annotation"] = f"unreadable: {error.strerror}"
        parts |= _class_parts(config, annotation, recipe)
    return {name: part if isinstance(part, str) else fingerprint(part) for name, part in parts.items()}


def recipe_of(parts: dict[str, str]) -> int | None:
    """The recipe that counted these parts, when this code still knows it."""
    return next((recipe for recipe in (RECIPE, BEFORE) if parts.get("recipe") == fingerprint(recipe)), None)


def _class_parts(config: ShardsConfig, annotation: AnnotationFile, recipe: int) -> dict[str, Any]:
    """The class map and the caps, as far as they concern the names (of a mask: the values) in this annotation."""
    try:
        mapped = targets(config, annotation, all_by_value=recipe == BEFORE)
    except UserError as error:
        return {"class map": str(error)}
    used = [name for name in config.weak_to_strong if name in set(mapped.values())]
    ids = {name: config.fine_classes.index(name) for name in used}
    caps = {name: config.class_caps[name] for name in used if name in config.class_caps}
    parts = {"class map": [mapped, ids], "priority": used, "class caps": caps}
    if recipe == RECIPE and annotation.has_nested_holes(
        config
    ):  # only there, so that all other slides stay as they are
        parts["holes"] = _HOLES
    return parts


def targets(config: ShardsConfig, annotation: AnnotationFile, all_by_value: bool = False) -> dict[str, str | None]:
    """Each name in an annotation, of a mask each value -> its fine class, `excluded`, `ignored` or `hole`; None: not mapped.

    all_by_value: look up drawn names among the values of masks too, as recipe 5 did. Raises UserError.
    """
    names = sorted(annotation.names)
    by_value = config.mask_classes if all_by_value or annotation.is_mask else {}
    return {name: config.annotation_classes.get(by_value.get(name) or name) for name in names}


def took_value_for_name(config: ShardsConfig, slide: Slide) -> bool:
    """Whether recipe 5 looked up a name that somebody drew among the values of masks, and so missed edits of its class."""
    if slide.annotation is None:
        return False
    annotation = AnnotationFile(slide.annotation)
    return not annotation.is_mask and any(name in config.mask_classes for name in annotation.names)
