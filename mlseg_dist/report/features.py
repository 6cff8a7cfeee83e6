"""The section about deep features: where pairs of each stain, source and scanner lie (the paper's UMAP). In: features.json."""

from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import read_json
from mlseg_core.html import Section, grid
from mlseg_dist.report import figures
from mlseg_dist.report.elements import drawing
from mlseg_dist.report.figure_ids import figure_id
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import counted, share

FILE, VERSION = "features.json", 1
KINDS = ("stain", "source", "scanner")
"""The paper's order."""


def read_features(folder: Path) -> dict[str, Any] | None:
    """features.json of an evaluation's folder; None where an earlier version wrote none. Raises UserError for a damaged one."""
    path = folder / FILE
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        if found["version"] != VERSION:
            return None
        count = len(found["points"])
        is_whole = "PCA" in found["planes"] and all(
            len(plane) == count and all(len(point) == 2 for point in plane) for plane in found["planes"].values()
        )
        is_whole &= all(isinstance(one[kind], str) for one in found["points"] for kind in (*KINDS, "split"))
        is_whole &= isinstance(found["step"], str) and len(found["explained"]) == 2
    except (TypeError, KeyError, IndexError):
        is_whole = False
    if not is_whole:
        raise UserError("is not a file of features", path, "Remove it, or evaluate the campaign again.")
    return dict(found)


def method(features: dict[str, Any]) -> str:
    """UMAP where it was installed when the campaign was evaluated, else PCA."""
    return "UMAP" if "UMAP" in features["planes"] else "PCA"


def charts(features: dict[str, Any]) -> dict[str, bytes]:
    """Stain, source and scanner -> SVG of all pairs in that colour; values that no train slide has are triangles."""
    plane = features["planes"][method(features)]
    drawn = {}
    for kind in KINDS:
        values = [one[kind] for one in features["points"]]
        unseen = {one[kind] for one in features["points"] if kind in one.get("unseen", ())}
        drawn[kind] = figures.scatter(kind, plane, values, unseen, method(features))
    return drawn


def deep_features(sources: Sources) -> Section | None:
    """None for runs that were evaluated by an earlier version."""
    features = read_features(sources.evaluation_folder) if sources.evaluation else None
    if features is None:
        return None
    used = method(features)
    drawn = [
        drawing(svg, f"{used} of deep features by {kind}", id=figure_id(f"features-{kind}"))
        for kind, svg in charts(features).items()
    ]
    first, second = features["explained"]
    how = (
        "UMAP of the package umap-learn; distances between far groups mean little"
        if used == "UMAP"
        else f"PCA, as umap-learn was not installed (extra `umap`); its axes have {share(first, 2)} and {share(second, 2)} of "
        "all spread"
    )
    lead = (
        f"What {features['step']}'s encoder makes of {counted(len(features['points']), 'pair')}, laid out in a plane by {how}. "
        "Groups that lie apart by source or scanner look different to the network: expect errors on new ones. Triangles: no "
        "train slide has this."
    )
    return Section("Deep features", lead, [grid(drawn, "three")])
