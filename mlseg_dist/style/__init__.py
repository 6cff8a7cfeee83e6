"""GAN style (the paper's "StyleGAN Augmentations"): generators that make one data source's patches look like another's.

train.py: a generator of each (source -> target). work.py, publish.py: the map over shards. sheet.py: pictures for people.
"""
