"""How far the appearances of the phantom slides lie from those of train, beside real slides."""
