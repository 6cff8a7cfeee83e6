"""The DALI executor beside the network that it feeds.

page  the results as Markdown
"""
