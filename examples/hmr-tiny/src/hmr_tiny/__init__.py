"""The smallest model for hmr."""
