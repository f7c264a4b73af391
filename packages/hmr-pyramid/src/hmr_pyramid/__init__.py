"""Pyramid as a plugin of hmr."""
