"""Training loops side by side.

loops  the rows: one optimizer step with torch, DeepSpeed or our engine
race   one rank, which times all rows in turn
"""
