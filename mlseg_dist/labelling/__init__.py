"""The teacher of a step labels the train split: shards -> sidecar shards with the same keys in the same order.

units, prepare, label, describe: of the map over shards (work.py, facts.py). write_round: its merge (round.py). check_round: what
training asks before it believes a round (trust.py).
"""

from mlseg_dist.labelling.facts import describe
from mlseg_dist.labelling.round import write_round
from mlseg_dist.labelling.trust import check_round
from mlseg_dist.labelling.work import MEMBERS, RECIPE, label, prepare, units

__all__ = [
    "MEMBERS",
    "RECIPE",
    "check_round",
    "describe",
    "label",
    "prepare",
    "units",
    "write_round",
]
