"""Imports only go down: the folders of hmr_core are floors, and packages know only what is below them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CORE = ROOT / "packages/hmr-core/src/hmr_core"
FLOORS = (
    {
        "plugins",
        "arrays",
        "config",
        "digests",
        "errors",
        "file_kinds",
        "files",
        "interrupts",
        "option_names",
        "option_text",
        "pictures",
        "safe_pickle",
        "shared_memory",
        "shell",
        "staging",
        "system",
        "versions",
        "wording",
    },
    {"geometry"},
    {"hand"},
    {"render"},
    {"metrics"},
    {"nn"},
    {"data"},
    {"engine"},
    {"viz"},
    {"cli", "builtin", "testing", "__main__"},
)
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, wherever in it, but for those that it names for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)
        else:
            yield from imported(node)


def upward(file: Path, source: str) -> list[str]:
    """The imports of a file of hmr_core that go up."""
    own = LEVEL[file.relative_to(CORE).parts[0].removesuffix(".py")]
    parts = [name.split(".") for name in imported(ast.parse(source)) if name.startswith("hmr_core.")]
    return [".".join(part) for part in parts if LEVEL[part[1]] > own]


@pytest.mark.parametrize("file", [f for f in sorted(CORE.rglob("*.py")) if f.parent != CORE or f.stem != "__init__"])
def test_imports_go_down(file: Path) -> None:
    assert upward(file, file.read_text()) == []


def test_an_import_that_goes_up_is_seen() -> None:
    source = "def f():\n    from hmr_core.engine import train\n"
    assert upward(CORE / "data/dataset.py", source) == ["hmr_core.engine.train"]


def test_core_knows_no_plugin_and_plugins_not_each_other() -> None:
    packages = {path.name: path.name.replace("-", "_") for path in (ROOT / "packages").iterdir() if path.is_dir()}
    for package, module in packages.items():
        others = {name for name in packages.values() if name not in (module, "hmr_core")}
        for file in (ROOT / "packages" / package / "src").rglob("*.py"):
            found = {name.split(".")[0] for name in imported(ast.parse(file.read_text()))} & others
            assert not found, f"{file} imports {found}"
