"""W&B, always fed from files: metrics.jsonl, events.jsonl, media/, and what phases publish. It never touches training.

One W&B run a phase, whatever number of job starts. `Tracker` runs beside rank 0 in a process of its own; `mlseg wandb-follow`
does the same on a login node for all phases of a campaign.
"""

from mlseg_dist.tracking.follower import Follower
from mlseg_dist.tracking.process import Tracker

__all__ = ["Follower", "Tracker"]
