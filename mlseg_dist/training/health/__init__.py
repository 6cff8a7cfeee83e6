"""Which rank stands still or lags, said by name; and an end to a job that would hang.

The loop says where it is (Pulse.at) and what its own work took (Busy); Watch and Stragglers judge.
"""

from mlseg_dist.training.health.pulse import Pulse
from mlseg_dist.training.health.stragglers import Busy, Pace, Stragglers
from mlseg_dist.training.health.watch import Watch, exit_now

__all__ = ["Busy", "Pace", "Pulse", "Stragglers", "Watch", "exit_now"]
