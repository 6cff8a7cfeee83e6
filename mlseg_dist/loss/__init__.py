"""Weighted cross entropy + weighted Dice over a loss group, summed over heads (equations 1, 3-7).

In: logits per head, labels per view. Out: one number to minimise, and its parts. Ignored pixels (255) have no weight and
no gradient. Nothing here waits for the device: no value is read back, no shape depends on data.
"""

from mlseg_dist.loss.segmentation import SegmentationLoss, centre, equations
from mlseg_dist.loss.sums import class_sums

__all__ = ["SegmentationLoss", "centre", "class_sums", "equations"]
