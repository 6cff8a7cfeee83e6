"""Slides -> shards: a map over slides, one set of tars a slide, then the corpus manifest.

A slide's files depend on its pixels, its annotation, its row and the config, on nothing else: the same inputs give the
same sha256 on any number of workers.

identity  who a slide file is, and what an earlier planning learnt of it
inputs    what a slide's shards depend on, part by part
plan      one unit a slide; mistakes found before any work; corrections: what an earlier recipe cut in another way
cut       one slide -> tars and overview
overview  what people see of a slide: thumbnail, tissue, patches
publish   facts of the tars, quarantine.csv, the manifest
changes   which slides have to be cut again, and why
prune     which files of earlier builds may be deleted
evidence  what shows that a file is ours; refuses a folder in which a build would write over somebody's files
"""

from shards.cutting.changes import Change, changes
from shards.cutting.cut import cut
from shards.cutting.evidence import refuse_foreign_outputs
from shards.cutting.plan import CutPlan, annotated_classes, check_slides, look_at_slides, plan_cut, units
from shards.cutting.prune import LeftAlone, Pruning, Superseded, plan_pruning, prune, superseded
from shards.cutting.publish import QUARANTINE, describe, write_manifest

__all__ = [
    "QUARANTINE",
    "Change",
    "CutPlan",
    "LeftAlone",
    "Pruning",
    "Superseded",
    "annotated_classes",
    "changes",
    "check_slides",
    "cut",
    "describe",
    "look_at_slides",
    "plan_cut",
    "plan_pruning",
    "prune",
    "refuse_foreign_outputs",
    "superseded",
    "units",
    "write_manifest",
]
