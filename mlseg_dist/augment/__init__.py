"""Augmentation: a policy is data (policy.py), parameters are drawn once a sample by a counter-based generator (draw.py),
an executor applies them (cpu.py). What they mean is pure (transform.py, tone.py, kernels.py, bank.py), for any executor.
"""

from typing import TYPE_CHECKING

from mlseg_dist.augment.draw import draw_parameters
from mlseg_dist.augment.parameters import Parameters

if TYPE_CHECKING:
    from mlseg_dist.data.views import Views

__all__ = ["Parameters", "augment", "draw_parameters"]


def augment(views: "Views", parameters: Parameters, mpp: dict[str, float], patch_px: int) -> "Views":
    """Stored views, uint8 (S, S, 3), -> patches, uint8 (P, P, 3), with labels uint8 (P, P). mpp: µm/px of `high` and `low`.

    Labels are nearest-neighbour, 255 where there are no pixels; images are reflected there.
    """
    from mlseg_dist.augment import cpu  # takes a second to import: configs are read without it

    return cpu.augment(views, parameters, mpp, patch_px)
