"""Slides in, tar shards of paired high/low patches out. Imports no torch.

slide_table  which slides, of which patient, stain, scanner, source and split
pyramids/    slide files behind one interface; what a level's pixel spans
reader       pixels by µm/px from level-0 coordinates; the colour of the glass
annotation/  polygons and masks with fine classes; labels rasterised on any view
audit/       tissue, pen, blur, colour: what a slide is like before it is cut
sampling     where patches are taken
plane        a slide at one µm/px, computed once and cut many times
sample       the members of one sample: KEY, JSON, images, labels
tar          deterministic tar shards, checked random access, index at the end
manifest     what a corpus holds, with hashes and counts, and the class at each pair's seed
cutting/     slides -> shards: plan, cut, publish, and what a change concerns
verify/      proves a corpus, byte by byte; show/: one page for people
tiles        tile + mask folders -> slides
phantom      synthetic slides, the test bench for learning
"""
