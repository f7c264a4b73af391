"""docs/plugins.md, step by step: its first plugin is built, installed, seen, trained and scored.

So is examples/hmr-tiny, of whose files the page is made.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.plugins.sample import DatasetReader, Sample
from hmr_core.testing import check_dataset

REPOSITORY = Path(__file__).parents[3]
EXAMPLE = REPOSITORY / "examples" / "hmr-tiny"
PAGE = REPOSITORY / "docs" / "plugins.md"
CONTRACT = REPOSITORY / "docs" / "contract.md"
PUBLIC = {"hmr_core.plugins", "hmr_core.config", "hmr_core.nn.model", "hmr_core.testing"}


class Stranger:
    """A fresh virtual environment which sees what this one has, with a plugin's folder built and installed in it."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder, self.project = folder, project
        venv.create(folder / "venv", with_pip=False)
        self.python = next((folder / "venv").glob("*/python"))
        packages = next((folder / "venv").glob("lib/python*/site-packages"))
        paths = "".join(f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages())
        (packages / "what_this_environment_has.pth").write_text(paths)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        alone = ["--no-deps", "--no-index"]
        self.run(*pip, "wheel", "--no-build-isolation", *alone, "-w", str(folder), str(project))
        self.wheel = next(folder.glob("*.whl"))
        self.run(*pip, "--python", str(self.python), "install", *alone, str(self.wheel))

    def run(self, *command: str) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HMR_"))}
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def hmr(self, *arguments: str) -> str:
        return self.run(str(self.python), "-m", "hmr_core", *arguments)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    folder = tmp_path_factory.mktemp("stranger")
    shutil.copytree(EXAMPLE, folder / "hmr-tiny", ignore=shutil.ignore_patterns("__pycache__"))
    return Stranger(folder, folder / "hmr-tiny")


def files(section: str) -> dict[str, str]:
    """The code blocks of a section that follow a line with nothing but a file's name in backquotes and a colon."""
    _, _, text = PAGE.read_text(encoding="utf-8").partition(f"## {section}\n")
    text = text.partition("\n## ")[0]
    return dict(re.findall(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def hello(mini_pack_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """The page's first plugin, installed, beside a pack where its commands look for one."""
    folder = tmp_path_factory.mktemp("hello")
    for name, text in files("Hello, hand").items():
        file = folder / "hmr-hello" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data/oakink.h5").symlink_to(mini_pack_path)
    return Stranger(folder, folder / "hmr-hello")


def test_the_first_model_has_ten_statements() -> None:
    tree = ast.parse(files("Hello, hand")["hmr_hello/model.py"])
    assert sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) == 10
    assert "a model of ten statements" in PAGE.read_text(encoding="utf-8")


def test_hmr_shows_the_first_plugin_as_the_page_says(hello: Stranger) -> None:
    shown = re.search(r"hmr plugins\n```\n\n```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert shown is not None
    printed = [line.split() for line in hello.hmr("plugins").splitlines()]
    assert all(line.split() in printed for line in shown[1].splitlines())


@pytest.mark.slow
def test_the_first_plugin_keeps_the_contract_learns_and_is_scored(hello: Stranger) -> None:
    hello.run(str(hello.python), "-c", 'from hmr_core.testing import check_model; check_model("hello")')
    commands = re.findall(r"^hmr ((?:train|eval) hello .*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["train", "eval"]
    for command in commands:
        printed = hello.hmr(*command.split())
    assert "hello (this)" in printed
    assert "mean pose of train" in printed


def test_hmr_finds_the_installed_example(stranger: Stranger) -> None:
    assert "tiny-cnn  tiny" in stranger.hmr("models")
    plugins = {plugin["name"]: plugin for plugin in json.loads(stranger.hmr("plugins", "--json"))}
    assert plugins["tiny"]["ok"]
    assert (plugins["tiny"]["distribution"], plugins["tiny"]["models"]) == ("hmr-tiny", ["tiny-cnn"])
    shown = json.loads(stranger.hmr("models", "tiny-cnn", "--json"))
    assert shown["recipes"] == {"tiny": "learns in minutes on two CPU cores, 64 pixels"}
    assert "width" in [option["key"] for option in shown["options"]]


@pytest.mark.slow
def test_its_own_tests_pass_where_it_is_installed(stranger: Stranger) -> None:
    output = stranger.run(str(stranger.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "hmr-tiny/tests")
    assert "1 passed" in output


def test_the_wheel_has_the_recipe(stranger: Stranger) -> None:
    names = {name for name in zipfile.ZipFile(stranger.wheel).namelist() if not name.split("/")[0].endswith("-info")}
    assert names == {
        f"hmr_tiny/{name}" for name in ("__init__.py", "plugin.py", "config.py", "model.py", "recipes/tiny.toml")
    }


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


def test_the_page_shows_the_files_of_the_example_as_they_are() -> None:
    shown = files("Grow it")
    names = [
        "pyproject.toml",
        *(f"src/hmr_tiny/{name}" for name in ("plugin.py", "config.py", "model.py", "recipes/tiny.toml")),
    ]
    assert list(shown) == [*names, "tests/test_tiny.py"]
    for name, text in shown.items():
        assert text == (EXAMPLE / name).read_text(), name


def test_the_contract_names_every_hook_and_every_field() -> None:
    from hmr_core.plugins import DatasetSpec, ModelSpec, SolverSpec
    from hmr_core.plugins.discovery import HOOKS

    assert all(f"`{hook}(" in CONTRACT.read_text() for hook in HOOKS)
    for kind, heading in ((ModelSpec, "## Models"), (DatasetSpec, "## Data sets"), (SolverSpec, "## Solvers")):
        section = CONTRACT.read_text().partition(f"{heading}\n")[2].partition("\n## ")[0]
        assert all(f"`{field.name}" in section for field in fields(kind)), heading


def test_the_data_set_of_the_page_keeps_the_contract_and_is_packed(
    mini_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fakes: Any
) -> None:
    for name, text in files("A data set of your own").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("hmr_mine")
    spec = fakes.registry(fakes.FakeEntryPoint("mine", lambda: module, fakes.FakeDist("hmr-mine"))).dataset("mine")

    joints = mini_pack.array("joints", [0])[0] - mini_pack.array("joints", [0])[0, 9] + np.float32([0, 0, 0.6])
    shown = re.search(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert shown is not None
    (label,) = json.loads(shown[1])["train"]
    root = tmp_path / "pictures"
    root.mkdir()
    subsets: dict[str, Any] = {"train": ["0001.png", "0002.png"], "test": ["0003.png"]}
    for subset, images in subsets.items():
        subsets[subset] = [{**label, "image": image, "joints": joints.tolist()} for image in images]
        for image in images:
            cv2.imwrite(str(root / image), np.full((480, 640, 3), 99, dtype=np.uint8))
    (root / "labels.json").write_text(json.dumps(subsets))

    check_dataset(spec, root)
    write_pack(spec.open(root), tmp_path / "mine.h5", codec=codec_named("png"))
    pack = Pack(tmp_path / "mine.h5")
    assert pack.info.counts["own"]["train"] == 2
    np.testing.assert_array_equal(pack.array("joints", pack.indices("own", "test")), joints[None])


def test_the_contract_names_every_member_of_a_reader_and_field_of_a_sample() -> None:
    section = CONTRACT.read_text().partition("## Data sets\n")[2].partition("\n## ")[0]
    members = [name for name in vars(DatasetReader) if not name.startswith("_")]
    assert all(re.search(rf"`{name}[(`]", section) for name in (*members, *Sample.__annotations__))


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
