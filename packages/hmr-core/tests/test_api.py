"""The Python API: its names, where they come from, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hmr_core as hmr

NAMES = {
    "Hand",
    "HandLayer",
    "HmrError",
    "ImageDataset",
    "Tracker",
    "compare",
    "draw",
    "evaluate",
    "load",
    "metrics",
    "open_pack",
    "resume",
    "track",
    "train",
}
"""What DESIGN promises."""

WITHOUT_TORCH = ("Hand", "HmrError", "compare", "evaluate", "open_pack", "resume", "train")
"""What brings no torch before it has work to do."""


def imports(code: str) -> set[str]:
    """The packages that a program has imported at its end, in a fresh process."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_names_are_those_that_are_promised() -> None:
    assert set(hmr.__all__) == NAMES
    assert set(dir(hmr)) >= NAMES
    for name in NAMES:
        assert getattr(hmr, name) is not None


def test_type_checkers_see_what_programs_get() -> None:
    """The names under TYPE_CHECKING come from the modules that the table of homes has."""
    tree = ast.parse(Path(hmr.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {name: f"{module}.{name}" if module == "hmr_core" else module for name, module in seen.items()} == hmr._HOMES


def test_the_import_brings_nothing_with_it() -> None:
    found = imports("import hmr_core")
    assert not found & {"torch", "numpy", "cv2", "h5py", "click", "pydantic"}
    assert "torch" in imports("import hmr_core; hmr_core.HandLayer")  # what looks can see it


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_needs_no_torch_brings_none(name: str) -> None:
    assert "torch" not in imports(f"import hmr_core; hmr_core.{name}")


def test_the_module_of_metrics_is_there_before_it_was_imported() -> None:
    assert "torch" in imports("import hmr_core as hmr; hmr.metrics.errors")


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'hmr_core' has no attribute 'trian'"):
        hmr.trian  # noqa: B018  # asking for it is what is tested


def test_a_pack_is_opened_by_a_text_or_a_path(mini_pack_path: Path) -> None:
    assert hmr.open_pack(str(mini_pack_path)).info.digest == hmr.open_pack(mini_pack_path).info.digest
    with pytest.raises(hmr.HmrError, match=r"no\.h5"):
        hmr.open_pack("no.h5")
