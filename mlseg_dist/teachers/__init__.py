"""A trained network with all that is needed to use it, wherever it lies: in a run folder or in a bundle.

teacher  what a teacher is: network, views, classes, threshold, temperature, normalisation, hashes; loads no torch
of_run  that of a step of a run
of_bundle  that of a bundle (`mlseg bundle`), which needs no run folder
network  a teacher, ready to answer
"""
