"""Figures of the steps' teachers on slides: every annotated pixel counts once.

In: slides and teachers. Out: evaluation.json and pictures.

plan       what is evaluated: one unit a slide and step, as they were when the corpus was cut; against: another run to compare with
work       a unit: the network over the slide's annotations, in strips -> a file of counts
counting   strips -> SlideCounts (tally) in bins, on the device; borders: surfaces of classes; overview: a small picture of the map
results    files of counts, proven complete
publish    all of them -> evaluation.json and its pictures: examples (patches, drawn by pictures), worst (slides)
summary    counts -> the content of evaluation.json. Its parts: step_summary, cohort (arrays of a split), split_figures, domains,
           calibration, differences; figures: formulas; intervals: the bootstrap
operating_point  a teacher's threshold and temperature, from counts of the validation split
campaign   the campaign's own evaluation as a phase; table: the headline in a terminal
ledger     who opened final-unseen, when and why

Only counts are kept, never scores: a billion pixels become some kilobytes.
"""

VERSION = 2
"""Format of evaluation.json. Version 1 counted the pixels of overlapping patches several times; its figures are not shown."""
