"""The `hmr` command: parse, call the engine, show what it returned."""
