"""features.json as an evaluation writes it, of made-up features."""

from typing import Any

import numpy as np

from mlseg_dist.config import FACTORS
from mlseg_dist.evaluation.features import VERSION, explained, plane_by_pca


def made_features(evaluation: dict[str, Any], with_umap: bool = False) -> dict[str, Any]:
    """Three pairs of each evaluated slide; stains lie apart."""
    random = np.random.default_rng(5)
    stains = sorted({one["stain"] for one in evaluation["slides"].values()})
    points, rows = [], []
    for slug, one in evaluation["slides"].items():
        for _ in range(3):
            points.append({"slide": slug, "split": one["split"], **{name: one[name] for name in (*FACTORS, "unseen")}})
            rows.append(random.normal(0, 1, 12) + 4 * stains.index(one["stain"]))
    features = np.array(rows)
    planes = {"PCA": plane_by_pca(features).tolist()}
    if with_umap:
        planes["UMAP"] = (features[:, :2] * 2).tolist()
    step = evaluation["steps"][-1]
    kept = {"version": VERSION, "step": step, "teacher": "0" * 64, "size": 12}
    return {**kept, "explained": explained(features), "points": points, "planes": planes}
