"""One engine from a slide to maps: a slide, a region of interest and a network in; strips of probabilities out.

grid      where patches and cells of the map lie on a slide
regions   the whole slide, its tissue, or what is annotated; which patches a region needs
opening   a slide that a person names: opened, refused in words, audited as `shards build` audits it
reading   views for many threads: every pixel is decoded and resampled once
network   a teacher as a function from views on the device to probabilities on the device
stitching overlapping patches -> rows that no later patch touches
strips    the engine: reads ahead, predicts, stitches, hands out strips from top to bottom
writing   strips -> tiled TIFFs of classes and probabilities
work      the engine as an exactly-once map over slides

Memory grows with the slide's width and not with its height. Nothing here keeps a whole map: whoever needs one, keeps it.
"""
