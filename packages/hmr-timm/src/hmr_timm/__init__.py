"""timm's backbones as a plugin of hmr."""
