"""What a rank feeds the network: corpus -> order of draws -> views with joined labels -> augmented batches."""
