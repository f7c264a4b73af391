"""RLE as a plugin of hmr."""
