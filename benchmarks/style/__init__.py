"""What gan_style costs: training a generator and styling shards."""
