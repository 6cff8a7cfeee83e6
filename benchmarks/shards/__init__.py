"""Cutting paired patches: ours, the floor, plain loops, a peer.

slides  slides to cut, made of real tissue
rows    one way to cut each
race    runs the processes of a row together
page    the results as Markdown
"""
