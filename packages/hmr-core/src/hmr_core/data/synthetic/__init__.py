"""A synthetic data set in OakInk-Image's own layout: scenes from a seed, their pictures, and the release's files."""
