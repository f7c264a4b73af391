"""Triangles to pixels: used by the synthetic data and by the overlays."""
