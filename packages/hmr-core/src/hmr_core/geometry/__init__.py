"""Geometry: rotations, camera space and UVD, crops, alignment. Torch tensors in and out, any leading batch axes."""
