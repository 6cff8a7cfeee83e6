"""The planner, the order and a round of labels at up to 100 M pairs.

campaign  a run folder halfway through the recommended campaign: manifests, records, plans; no pixels
job       one measurement in a process of its own
crowd     256 workers on one round, in processes that die; worker: one such process
traced    what a command asks of the file system, counted by strace
cost      the recommended campaign in GPU-hours and bytes
page      the results as Markdown
"""
