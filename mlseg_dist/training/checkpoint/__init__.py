"""Checkpoints: `checkpoints/step-N/{model.pt, optimizer.pt, ..., cursor.json, META.json}`, written while training goes on.

META holds size and sha256 of the other files and is written last; the folder is renamed into place when all of it is on disk, then
LATEST names it, as a hint for people. A checkpoint counts when it verifies, whatever else is said of it.
"""

from mlseg_dist.training.checkpoint.reading import Damaged, damage, load, newest, verified_sha256
from mlseg_dist.training.checkpoint.saver import NotSaved, Saver

__all__ = ["Damaged", "NotSaved", "Saver", "damage", "load", "newest", "verified_sha256"]
