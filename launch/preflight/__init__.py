"""What can be known to go wrong before anything queues: a registry of checks, each a small function that returns findings.

finding  what a check says        registry  the checks, in order        site  what they are told
asking   what SLURM says of a job, without queueing it
space    bytes against free space and quotas      node  a job a kind that looks at its node from inside
"""

from launch.preflight.finding import Finding
from launch.preflight.registry import CHECKS, run_checks
from launch.preflight.site import Site

__all__ = ["CHECKS", "Finding", "Site", "run_checks"]
