"""Learning experiments: arms that differ in one thing, trained alike, compared slide by slide.

arms     what each study compares; arm: one training run in a process of its own
patches  pixels of each class that a network gets right and wrong
verdict  the results as Markdown, with intervals
"""
