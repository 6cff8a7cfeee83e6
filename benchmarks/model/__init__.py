"""Networks of two views side by side, with the floors of their graphs.

networks  the rows
race      runs the rows in turn, each in a process of its own: row
counting  multiply-adds and bytes of a network's operators
roofs     the fastest arithmetic and memory copy of the device
page      the results as Markdown
"""
