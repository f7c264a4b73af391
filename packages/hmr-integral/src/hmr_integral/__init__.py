"""Integral-Pose as a plugin of hmr."""
