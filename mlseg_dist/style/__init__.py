"""GAN style (the paper's "StyleGAN Augmentations"): generators that turn one data source's patches into another's, and styled shards.

train.py: a generator of each (source -> target). work.py, publish.py: the map over shards. sheet.py: pictures for people.
"""
