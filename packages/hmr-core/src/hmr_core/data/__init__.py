"""Data: the reader of the release's tree, the pack, the torch data set, augmentation, synthetic data."""
