"""The policies of Table 8, as configs/augment has them."""

from pathlib import Path
from typing import Any

from benchmarks.common.processes import ROOT
from mlseg_core.config import Strict, load_config
from mlseg_dist.augment.policy import named
from mlseg_dist.augment.style_ops import GanStyleOp
from mlseg_dist.config import PolicyConfig


class _Policies(Strict):
    """A file of configs/augment."""

    policies: dict[str, PolicyConfig]

    @classmethod
    def spelled_out(cls, raw: Any, where: Path | str) -> Any:
        return named(raw, where)


def table8() -> dict[str, PolicyConfig]:
    """Name of a policy -> its ops, but for gan_style: that reads other views, which the corpora of benchmarks do not have."""
    policies = load_config(ROOT / "configs/augment/table8.yaml", _Policies).policies
    return {name: tuple(op for op in ops if not isinstance(op, GanStyleOp)) for name, ops in policies.items()}
