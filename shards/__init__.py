"""Slides in, tar shards of paired high/low patches out. Imports no torch.

slide_table  which slides, of which patient, stain, scanner, source and split
reader       pixels by µm/px from level-0 coordinates
annotation   polygons with fine classes; labels rasterised on any view
tissue       Otsu tissue mask
sampling     where patches are taken
sample       the members of one sample: KEY, JSON, images, labels
tar          deterministic tar shards, their index, checked random access
manifest     what a corpus holds, with hashes and counts
build        slides -> shards (a map); tiles: tile + mask folders -> slides
phantom      synthetic slides, the test bench for learning
"""
