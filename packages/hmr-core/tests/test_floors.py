"""Imports only go down: the folders of hmr_core are floors, and packages know only what is below them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CORE = ROOT / "packages/hmr-core/src/hmr_core"
FLOORS = (
    {
        "arrays",
        "config",
        "devices",
        "digests",
        "errors",
        "file_kinds",
        "files",
        "interrupts",
        "launcher",
        "option_names",
        "option_text",
        "optional_packages",
        "own_locks",
        "pictures",
        "processes",
        "provenance",
        "safe_pickle",
        "shared_memory",
        "shell",
        "staging",
        "system",
        "text_table",
        "versions",
        "wording",
        "worker_error",
    },
    {"geometry"},
    {"hand"},
    {"render"},
    {"metrics"},
    {"nn"},
    {"plugins"},
    {"data"},
    {"viz"},
    {"weights"},
    {"doctor"},
    {"inference"},
    {"evaluation"},
    {"training"},
    {"sweep"},
    {"testing"},
    {"cli", "builtin", "builtin_backbones", "__main__"},
)
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, wherever in it, those that it names for type checkers alone included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def upward(file: Path, source: str) -> list[str]:
    """The imports of a file of hmr_core that go up."""
    own = LEVEL[file.relative_to(CORE).parts[0].removesuffix(".py")]
    parts = [name.split(".") for name in imported(ast.parse(source)) if name.startswith("hmr_core.")]
    return [".".join(part) for part in parts if LEVEL[part[1]] > own]


@pytest.mark.parametrize("file", [f for f in sorted(CORE.rglob("*.py")) if f.parent != CORE or f.stem != "__init__"])
def test_imports_go_down(file: Path) -> None:
    assert upward(file, file.read_text()) == []


def test_an_import_that_goes_up_is_seen() -> None:
    inside = "def f():\n    from hmr_core.training import loop\n"
    assert upward(CORE / "data/loading.py", inside) == ["hmr_core.training.loop"]
    for_types = "if TYPE_CHECKING:\n    from hmr_core.training import loop\n"
    assert upward(CORE / "data/loading.py", for_types) == ["hmr_core.training.loop"]


def modules() -> dict[str, Path]:
    """Every module of every package, by its name."""
    found = {}
    for source in sorted((ROOT / "packages").glob("*/src")):
        for file in sorted(source.rglob("*.py")):
            found[".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")] = file
    return found


def arrows(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Which modules each module imports, of those given."""
    found: dict[str, set[str]] = {}
    for module, file in files.items():
        names = set(imported(ast.parse(file.read_text(encoding="utf-8"))))
        found[module] = {name if name in files else name.rpartition(".")[0] for name in names} & files.keys()
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle of imports, if there is one: the modules that import each other, and those that import them."""
    left = {module: set(names) for module, names in graph.items()}
    while free := [module for module, names in left.items() if not names & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def test_no_imports_go_in_circles() -> None:
    graph = arrows(modules())
    assert len(graph) > 100
    assert circle(graph) == []


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_core_knows_no_plugin_and_plugins_not_each_other() -> None:
    packages = {path.name: path.name.replace("-", "_") for path in (ROOT / "packages").iterdir() if path.is_dir()}
    for package, module in packages.items():
        others = {name for name in packages.values() if name not in (module, "hmr_core")}
        for file in (ROOT / "packages" / package / "src").rglob("*.py"):
            found = {name.split(".")[0] for name in imported(ast.parse(file.read_text()))} & others
            assert not found, f"{file} imports {found}"
