"""Training a model: the loop, the run on disk, its log."""
