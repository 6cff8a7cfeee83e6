"""`mlseg predict`: slides and a teacher in; for each slide a folder of maps, regions, a picture, areas and a summary out.

wanted    what a person names (files, folders, globs, a slide table) -> slides; loads no torch
plan      slides -> units of an exactly-once map; loads no torch
work      the map's work: audit, prediction, all files of a slide
outlines  rows of a class map -> polygons of its regions, while the rows come
qupath    regions -> GeoJSON as QuPath exports it
results   what came of the slides: quarantine.csv and a line each
"""
