"""Files of weights: how to identify them, checkpoints, released files, conversion."""
