"""I2L-MeshNet as a plugin of hmr."""
