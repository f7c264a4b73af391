"""A package that not everybody needs, missing, damaged or hidden, is told before work begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hmr_core.errors import HmrError
from hmr_core.evaluation.page.plotly_js import require_plotly
from hmr_core.optional_packages import require_package
from hmr_core.shell import flag

SHADOWED = "shadowed_for_a_test"


def hide(folder: Path, name: str, kind: str) -> None:
    """Something of a package's name: an empty folder, an empty package, or one that cannot be imported."""
    (folder / name).mkdir(parents=True)
    if kind != "folder":
        (folder / name / "__init__.py").write_text("" if kind == "empty" else "import nowhere_at_all")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("folder", "it has no begin"),
        ("empty", "it has no begin"),
        ("broken", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ],
)
def test_what_is_hidden_or_damaged_is_told_with_its_place(
    kind: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(tmp_path, SHADOWED, kind)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with pytest.raises(HmrError) as raised:
            require_package(SHADOWED, "It", "pip install it", has="begin")
    finally:
        sys.modules.pop(SHADOWED, None)
    text = raised.value.worded(flag)
    assert text.startswith(f"It is installed, but is of no use ({reason}): Python finds it at {tmp_path / SHADOWED}")
    assert text.endswith(f"Move that away, or run: pip install --force-reinstall {SHADOWED}")


def test_what_is_not_there_is_told_with_what_installs_it() -> None:
    with pytest.raises(HmrError, match=r"^It is not installed\. Run: pip install it$"):
        require_package("nowhere_at_all", "It", "pip install it", has="begin")
    require_package("json", "It", "", has="loads")


@pytest.mark.parametrize("kind", ["folder", "empty"])
def test_a_plotly_that_is_none_is_told_before_anything_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(tmp_path, "plotly", kind)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "plotly", raising=False)
    with pytest.raises(HmrError, match=r"of no use \(it has no package_data/plotly\.min\.js\): .*l plotly"):
        require_plotly()


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("wandb", ["train", "integral", "--wandb"]),
        ("tensorboard", ["train", "integral", "--tensorboard"]),
        ("optuna", ["sweep", "sweep.toml"]),
        ("plotly", ["compare", "a", "--html", "page.html"]),
        ("yaml", ["pack", "dexycb", "--root", "."]),
    ],
)
def test_the_command_says_so_early(package: str, command: list[str], tmp_path: Path, mini_pack_path: Path) -> None:
    """An empty package of each one's name in the working folder, as Python finds first with -m."""
    hide(tmp_path, package, "empty")
    (tmp_path / "sweep.toml").write_text(
        'model = "integral"\nsplit = "sp0"\nrecipe = "tiny"\ntrials = 1\n[space]\n"train.epochs" = [1, 2]\n'
    )
    given = ["--split", "sp0", "--recipe", "tiny", "--data", str(mini_pack_path)] if command[0] == "train" else []
    done = subprocess.run(
        [sys.executable, "-m", "hmr_core", *command, *given], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "is installed, but is of no use (" in last
    assert f"Python finds it at {tmp_path / package / '__init__.py'}." in last
    assert "run: pip install --force-reinstall " in last
