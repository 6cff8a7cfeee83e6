"""W&B, always fed from files: metrics.jsonl, events.jsonl, media/, and what phases publish. It never touches training.

One W&B run a phase, whatever number of job starts, and one for the campaign. `Tracker` runs beside rank 0 in a process of its own;
`mlseg wandb-follow` does the same on a login node for all phases of a campaign, and sends the campaign's run.

rows, content, lineage, story   what is sent, as plain values: curves; tables, drawings, pictures; artifacts; the ladder
run                             the only place that talks to wandb
follower, campaign              who sends a phase, and the campaign
"""

from mlseg_dist.tracking.follower import Follower
from mlseg_dist.tracking.process import Tracker

__all__ = ["Follower", "Tracker"]
