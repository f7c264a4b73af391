"""Where a plugin's recipes are: the TOML files of the folder `recipes` beside its module."""

from __future__ import annotations

from pathlib import Path


def recipe_files(module_file: str) -> dict[str, Path]:
    """The recipes of a plugin, by name: every `recipes/NAME.toml` beside a module. module_file: its `__file__`."""
    return {path.stem: path for path in sorted((Path(module_file).parent / "recipes").glob("*.toml"))}
