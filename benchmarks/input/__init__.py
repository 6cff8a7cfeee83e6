"""Stored pairs as augmented micro-batches, ours and what users would pick instead.

row     one row in a process of its own, and what is measured of it and its children
ours    our batches; reading and decoding alone
loader  webdataset and albumentations in a torch DataLoader; ops: what it does for a policy
dali    DALI's readers.webdataset and CPU operators
page    the results as Markdown
"""
