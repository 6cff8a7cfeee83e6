"""What a rank's start costs, and which shards ranks read from.

locality  which shards simulated ranks read from, in our order and in a global shuffle
"""
