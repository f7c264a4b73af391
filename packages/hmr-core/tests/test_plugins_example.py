"""examples/hmr-tiny, built, installed and tested as a stranger's plugin; and docs/plugins.md, which is made of it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
EXAMPLE = REPOSITORY / "examples" / "hmr-tiny"
PAGE = REPOSITORY / "docs" / "plugins.md"
PUBLIC = {"hmr_core.plugins", "hmr_core.config", "hmr_core.nn.model", "hmr_core.testing"}


class Stranger:
    """A copy of the example elsewhere, and a fresh virtual environment which sees what this one has."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        shutil.copytree(EXAMPLE, self.project, ignore=shutil.ignore_patterns("__pycache__"))
        venv.create(folder / "venv", with_pip=False)
        self.python = next((folder / "venv").glob("*/python"))
        packages = next((folder / "venv").glob("lib/python*/site-packages"))
        paths = "".join(f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages())
        (packages / "what_this_environment_has.pth").write_text(paths)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        alone = ["--no-deps", "--no-index"]
        self.run([*pip, "wheel", "--no-build-isolation", *alone, "-w", str(folder), str(self.project)])
        self.wheel = next(folder.glob("*.whl"))
        self.run([*pip, "--python", str(self.python), "install", *alone, str(self.wheel)])

    def run(self, command: list[str]) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HMR_"))}
        done = subprocess.run(command, cwd=self.project, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def hmr(self, *arguments: str) -> str:
        return self.run([str(self.python), "-m", "hmr_core", *arguments])


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return Stranger(tmp_path_factory.mktemp("stranger"))


def test_hmr_finds_the_installed_example(stranger: Stranger) -> None:
    assert "tiny-cnn  tiny" in stranger.hmr("models")
    plugins = {plugin["name"]: plugin for plugin in json.loads(stranger.hmr("plugins", "--json"))}
    assert plugins["tiny"]["ok"]
    assert (plugins["tiny"]["distribution"], plugins["tiny"]["models"]) == ("hmr-tiny", ["tiny-cnn"])
    shown = json.loads(stranger.hmr("models", "tiny-cnn", "--json"))
    assert shown["recipes"] == {"tiny": "learns in minutes on two CPU cores, 64 pixels"}
    assert "width" in [option["key"] for option in shown["options"]]


def test_its_own_tests_pass_where_it_is_installed(stranger: Stranger) -> None:
    output = stranger.run([str(stranger.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"])
    assert "1 passed" in output


def test_the_wheel_has_the_recipe(stranger: Stranger) -> None:
    names = {name for name in zipfile.ZipFile(stranger.wheel).namelist() if not name.split("/")[0].endswith("-info")}
    assert names == {f"hmr_tiny/{name}" for name in ("__init__.py", "plugin.py", "config.py", "model.py", "tiny.toml")}


def test_it_imports_only_what_is_public() -> None:
    imported = set()
    for path in EXAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hmr_core"):
                imported.add(node.module)
            elif isinstance(node, ast.Import):
                assert not any(name.name.startswith("hmr_core") for name in node.names), path
    assert imported == PUBLIC


def test_it_is_as_small_as_the_page_says() -> None:
    statements = 0
    for path in (EXAMPLE / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            statements += isinstance(node, ast.stmt) and not docstring
    assert f"{statements} statements" in PAGE.read_text()
    assert statements <= 40


def blocks_of_files(page: str) -> dict[str, str]:
    """The code blocks that follow a line with nothing but a file's name in backquotes and a colon."""
    return dict(re.findall(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL))


def test_the_page_shows_the_files_of_the_example_as_they_are() -> None:
    shown = blocks_of_files(PAGE.read_text())
    names = [
        "pyproject.toml",
        *(f"src/hmr_tiny/{name}" for name in ("plugin.py", "config.py", "model.py", "tiny.toml")),
    ]
    assert list(shown) == [*names, "tests/test_tiny.py"]
    for name, text in shown.items():
        assert text == (EXAMPLE / name).read_text(), name


def test_the_page_names_every_hook() -> None:
    from hmr_core.plugins.discovery import HOOKS

    assert all(f"`{hook}(" in PAGE.read_text() for hook in HOOKS)


def test_every_text_that_the_page_quotes_of_a_broken_plugin_is_one(fakes: Any) -> None:
    made = [
        fakes.raising("importing", ModuleNotFoundError("No module named 'tormch'")),
        fakes.plugin("misspelt", hmr_model=fakes.models("a")),
        fakes.plugin("empty"),
        fakes.plugin("one", hmr_models=fakes.models("tiny-cnn")),
        fakes.plugin("two", hmr_models=fakes.models("tiny-cnn")),
    ]
    for plugin in fakes.registry(*made).plugins:
        assert f"`{plugin.reason.split('. ')[0]}" in PAGE.read_text()
