"""How much of the network's own rate labelling keeps.

rows  the network alone, our labelling, and the same one step after another
page  the results as Markdown
"""
