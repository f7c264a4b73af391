"""The engine: train, evaluate, score, runs on disk, checkpoints."""
