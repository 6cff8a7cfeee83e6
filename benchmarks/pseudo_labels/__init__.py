"""How right a campaign's pseudo-labels are, against the whole truth of its phantom slides. Nothing that learns reads that truth.

truth    the truth table beside the slides -> fine classes of any pixel of a train slide, as a build would cut them
count    a run folder -> what its rounds said of each pixel that nobody labelled, and what was drawn
score    these counts of one round, and the figures that follow from them at its own thresholds or at any others
table    scores as text
"""

from benchmarks.common.truth import has_truth
from benchmarks.pseudo_labels.count import score
from benchmarks.pseudo_labels.score import RoundScore, compact

__all__ = ["RoundScore", "compact", "has_truth", "score"]
