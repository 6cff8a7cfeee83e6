"""Figures of the steps' teachers on slides: every annotated pixel counts once.

In: slides and teachers. Out: evaluation.json and pictures.

plan      what is evaluated: one unit a slide and step, as they were when the corpus was cut
work      a unit: the network over the slide's annotations, in strips -> a file of counts
counting  strips -> SlideCounts (tally), on the device; borders: surfaces of classes; overview: a small picture of the map
results   files of counts, proven complete
publish   all of them -> evaluation.json; examples, worst: its pictures
summary   counts -> figures with intervals; cohort, figures, intervals, domains, calibration … are its parts
ledger    who opened final-unseen, when and why

Only counts are kept, never scores: a billion pixels become some kilobytes.
"""
