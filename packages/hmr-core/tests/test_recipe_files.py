"""A plugin's recipes are the TOML files beside its module."""

from __future__ import annotations

from pathlib import Path

from hmr_core.plugins import recipe_files


def test_each_file_is_a_recipe_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    for name in ("tiny.toml", "published.toml", "notes.md"):
        (tmp_path / "recipes" / name).touch()
    folder = tmp_path / "recipes"
    found = recipe_files(str(tmp_path / "plugin.py"))
    assert list(found.items()) == [("published", folder / "published.toml"), ("tiny", folder / "tiny.toml")]


def test_a_plugin_may_have_none(tmp_path: Path) -> None:
    assert recipe_files(str(tmp_path / "plugin.py")) == {}
