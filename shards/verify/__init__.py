"""Independent proof of a folder of shards: what its manifest, its indices, its tars and its samples say of each other.

scan     a tar read front to back, trusting nothing
sample   JSON, images and labels of one sample: decoded strictly, compared with key, slide, manifest and each other
shard    one tar against its index, its manifest entry and its slide's row
beside   seeds, overviews, quarantine list, files that nobody will read
corpus   the folder: manifest, all shards on many processes
finding  one thing that is wrong, and where
"""
