"""What a slide's shards depend on, part by part: a change of one part has a name, and touches only the slides it concerns."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, sha256_file
from shards.annotation import classes_found
from shards.config import ShardsConfig
from shards.slide_table import Slide

RECIPE = 5  # raise it when the same inputs give other bytes
_HEAD = 1 << 20
_WINDOWS, _WINDOW = 16, 1 << 16


def slide_inputs(config: ShardsConfig, slide: Slide) -> dict[str, str]:
    """Part -> its hash or value. An annotation that cannot be read is a part too: cutting will say what is wrong with it."""
    row = {k: v for k, v in asdict(slide).items() if k not in ("slide", "annotation", "origin", "mpp_override")}
    views = config.model_dump(mode="json", include={"high_mpp", "low_mpp", "store_px", "jpeg_quality"})
    sampling = config.model_dump(
        mode="json",
        include={"stride_um", "tissue_stride_um", "max_per_class", "max_tissue", "samples_per_shard", "seed"},
    )
    parts: dict[str, Any] = {
        "recipe": RECIPE,
        "name": slide.slug,
        "row": row,
        "slide": slide_identity(slide.slide),
        "views": views,
        "sampling": sampling,
        "tissue": config.tissue.model_dump(mode="json"),
        "audit": config.audit.model_dump(mode="json"),
    }
    if slide.annotation is not None:
        parts["annotation"] = sha256_file(slide.annotation)
        parts |= _class_parts(config, slide.annotation)
    return {name: part if isinstance(part, str) else fingerprint(part) for name, part in parts.items()}


def _class_parts(config: ShardsConfig, annotation: Path) -> dict[str, Any]:
    """The class map and the caps, as far as they concern the names (of a mask: the values) in this annotation."""
    try:
        found = sorted(classes_found(annotation))
    except UserError as error:
        return {"class map": str(error)}
    names = {name: config.mask_classes.get(name) for name in found}
    targets = {name: config.annotation_classes.get(value or name) for name, value in names.items()}
    used = [name for name in config.weak_to_strong if name in set(targets.values())]
    ids = {name: config.fine_classes.index(name) for name in used}
    caps = {name: config.class_caps[name] for name in used if name in config.class_caps}
    return {"class map": [targets, ids], "priority": used, "class caps": caps}


def slide_files(path: Path) -> list[Path]:
    """All files of a slide: a DICOM slide is a folder, an MRXS slide has a folder of its own beside it."""
    if path.is_dir():
        return sorted(path.glob("*.dcm"))
    if path.suffix.lower() == ".dcm":
        return sorted(path.parent.glob("*.dcm"))
    beside = path.with_suffix("") if path.suffix.lower() == ".mrxs" else None
    more = sorted(file for file in beside.rglob("*") if file.is_file()) if beside and beside.is_dir() else []
    return [path, *more]


def slide_identity(path: Path) -> str:
    """Hash that tells a slide from another without reading all of it: sizes, heads, tails and windows between them."""
    digest = hashlib.sha256()
    for file in slide_files(path):
        size = file.stat().st_size
        digest.update(f"{file.name if file != path else ''} {size} ".encode())
        with open(file, "rb") as data:
            digest.update(data.read(_HEAD))
            for number in range(1, _WINDOWS):
                data.seek(size * number // _WINDOWS)
                digest.update(data.read(_WINDOW))
            data.seek(max(0, size - _HEAD))
            digest.update(data.read(_HEAD))
    return digest.hexdigest()
