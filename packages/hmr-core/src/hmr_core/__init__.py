"""Hand mesh recovery: data, hand model, metrics, trainer, plugin hooks and the `hmr` command."""
