"""IKNet and the fit behind it as a plugin of hmr."""
