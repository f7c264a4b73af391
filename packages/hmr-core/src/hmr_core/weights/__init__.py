"""Files of weights: what they are, checkpoints, released files, conversion."""
