"""What `hmr models|datasets|solvers|plugins` say, as text and as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner, Result
from pydantic import Field

from hmr_core.cli import table
from hmr_core.cli.main import cli
from hmr_core.config import ModelConfig, Section
from hmr_core.errors import UsageError
from hmr_core.plugins import Released

RECIPE = """
summary = "learns in a minute"
[model]
image_size = 64
head.kind = "b"
[train]
epochs = 2
batch_size = 8
"""


class Head(Section):
    kind: Literal["a", "b"] = Field("a", description="which head")


class Config(ModelConfig):
    head: Head = Head()
    widths: tuple[int, ...] = Field((8, 16), description="channels")
    weights: Path | None = Field(None, description="a file")
    scale: float = Field(2.0, gt=0, lt=10, description="how much [of it]")


@pytest.fixture
def registry(fakes: Any, tmp_path: Path) -> Any:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "bad.toml").write_text("[model")
    spec = fakes.model(
        "toy",
        config=Config,
        recipes={"tiny": tmp_path / "tiny.toml", "bad": tmp_path / "bad.toml"},
        paper="Nobody, 2020",
    )
    return fakes.registry(
        fakes.plugin("core", dist="hmr-core", hmr_datasets=lambda: [fakes.dataset("oakink")]),
        fakes.plugin("toys", hmr_models=lambda: [spec]),
        fakes.raising("rle", ImportError("no flow")),
    )


def hmr(registry: Any, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, obj=registry, catch_exceptions=True)


def test_models(registry: Any) -> None:
    result = hmr(registry, "models")
    assert result.exit_code == 0
    rows = [" | ".join(re.split("  +", line)) for line in result.stdout.splitlines()]
    assert rows[:4] == [
        "name | plugin | recipes | summary",
        "toy | toys | tiny, bad | the model toy",
        "integral | not installed: pip install hmr-integral | Integral-Pose: joints by soft-argmax over 3D heat maps",
        "rle | broken: see hmr plugins | RLE: joints by regression with residual log-likelihood",
    ]
    starts = zip(result.stdout.splitlines(), ("summary", "the model", "Integral-Pose"), strict=False)
    assert len({line.index(text) for line, text in starts}) == 1  # the columns are aligned
    assert result.stderr == "plugins with a problem: rle (see: hmr plugins)\n"


def test_models_as_json(registry: Any) -> None:
    listed = json.loads(hmr(registry, "models", "--json").stdout)
    assert listed[0] == {
        "name": "toy",
        "state": "installed",
        "plugin": "toys",
        "consumes": "image",
        "recipes": ["tiny", "bad"],
        "summary": "the model toy",
    }
    assert listed[1]["state"] == "not installed"
    assert listed[1]["install"] == "pip install hmr-integral"


def test_a_model_with_its_options(registry: Any) -> None:
    lines = hmr(registry, "models", "toy").stdout.splitlines()
    assert "paper:      Nobody, 2020" in lines
    assert "root joint: 9 (middle_mcp)" in lines
    assert "plugin:     toys" in lines
    assert "tiny  learns in a minute" in lines
    assert any(line.startswith("bad   broken: recipe bad of toy") for line in lines)
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line}
    assert rows["image_size"] == "int > 0, <= 4096 required 64 side of the square crop that the model sees, in pixels"
    assert rows["head.kind"] == "a or b a b which head"
    assert rows["widths"] == "list of int [8, 16] [8, 16] channels"
    assert rows["weights"] == "path or null null null a file"
    assert rows["scale"] == "float > 0, < 10 2 2 how much [of it]"
    assert rows["train.epochs"] == "int > 0, <= 1000000 required 2 passes over the training subset"
    assert {"data.bbox_expand", "augment.scale"} <= rows.keys()


def test_a_model_as_json(registry: Any) -> None:
    shown = json.loads(hmr(registry, "models", "toy", "--json").stdout)
    assert shown["recipes"]["tiny"] == "learns in a minute"
    assert shown["root_joint"] == 9
    options = {option["key"]: option for option in shown["options"]}
    assert options["image_size"]["required"]
    assert options["widths"] == {
        "key": "widths",
        "type": "list of int",
        "required": False,
        "default": [8, 16],
        "recipes": {"tiny": [8, 16]},
        "description": "channels",
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("models", "toi"), 'unknown model "toi". Did you mean "toy"?'),
        (("models", "rle"), "cannot be imported: ImportError: no flow"),
        (("datasets", "oakonk"), 'unknown dataset "oakonk". Did you mean "oakink"?'),
        (("solvers", "iknet"), 'solver "iknet" is not installed: pip install hmr-iknet'),
        (("plugins", "toyz"), 'unknown plugin "toyz". Did you mean "toys"? Valid: core, rle, toys.'),
    ],
)
def test_an_unknown_name(registry: Any, arguments: tuple[str, ...], text: str) -> None:
    error = hmr(registry, *arguments).exception
    assert isinstance(error, UsageError)
    assert text in str(error)


def test_datasets(registry: Any) -> None:
    lines = hmr(registry, "datasets").stdout.splitlines()
    assert [" ".join(line.split()) for line in lines[:3]] == [
        "name plugin summary",
        "oakink core the data set oakink",
        "freihand not installed: pip install hmr-datasets FreiHAND v2",
    ]
    assert "hmr pack oakink --root DIR --out oakink.h5" in hmr(registry, "datasets", "oakink").stdout
    assert json.loads(hmr(registry, "datasets", "oakink", "--json").stdout)["plugin"] == "core"
    names = [entry["name"] for entry in json.loads(hmr(registry, "datasets", "--json").stdout)]
    assert names == ["oakink", "freihand", "ho3d", "dexycb", "interhand"]


def test_solvers_where_there_are_none_yet(registry: Any) -> None:
    lines = hmr(registry, "solvers").stdout.splitlines()
    assert lines[1:] == ["iknet  not installed: pip install hmr-iknet  joints to mesh: IKNet and a fit behind it"]


class SolverConfig(Section):
    steps: int | None = Field(None, gt=0, description="of the fit")
    fit: Literal["slow", "fast"] = Field("slow", description="which")


def test_a_solver_with_its_options_and_what_protocols_set(fakes: Any) -> None:
    made = fakes.solver("fit", config=SolverConfig, protocols={"published": {"steps": 20}, "best": {"fit": "fast"}})
    registry = fakes.registry(fakes.plugin("fits", hmr_solvers=lambda: [made]))
    lines = hmr(registry, "solvers", "fit").stdout.splitlines()
    assert lines[-4:] == [
        "Options (--solver-set key=value), with the value under each --protocol:",
        "key    type             default  published  best  description",
        "steps  int or null > 0  null     20         null  of the fit",
        "fit    slow or fast     slow     slow       fast  which",
    ]
    assert "weights: none" in lines
    assert json.loads(hmr(registry, "solvers", "fit", "--json").stdout)["needs_weights"] is False
    steps, _ = json.loads(hmr(registry, "solvers", "fit", "--json").stdout)["options"]
    assert steps == {
        "key": "steps",
        "type": "int or null > 0",
        "required": False,
        "default": None,
        "protocols": {"published": 20, "best": None},
        "description": "of the fit",
    }


def test_a_solver_that_needs_weights_says_what_they_are_given_by(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("fits", hmr_solvers=lambda: [fakes.solver("fit", needs_weights=True)]))
    lines = hmr(registry, "solvers", "fit").stdout.splitlines()
    assert lines[-1].split() == ["weights:", "needed", "(--solver-ckpt)"]


def test_a_solver_without_protocols_shows_its_defaults_alone(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("fits", hmr_solvers=lambda: [fakes.solver("fit", config=SolverConfig)]))
    shown = hmr(registry, "solvers", "fit").stdout
    assert "Options (--solver-set key=value):" in shown
    assert "fit    slow or fast     slow     which" in shown


def test_plugins(registry: Any) -> None:
    assert hmr(registry, "plugins").stdout.splitlines() == [
        "name  package       status  offers            reason",
        "core  hmr-core 1.0  ok      datasets: oakink",
        "rle   hmr-rle 1.0   broken                    cannot be imported: ImportError: no flow",
        "toys  hmr-toys 1.0  ok      models: toy",
    ]


def test_one_plugin_shows_its_traceback(registry: Any) -> None:
    shown = hmr(registry, "plugins", "rle").stdout
    assert "status:  broken" in shown
    assert "Traceback (most recent call last)" in shown
    assert "ImportError: no flow" in shown.splitlines()[-1]
    assert "Traceback" not in hmr(registry, "plugins", "hmr-toys").stdout


def test_a_clash_of_commands_shows_in_the_list_of_plugins(fakes: Any) -> None:
    import click

    registry = fakes.registry(fakes.plugin("bad", hmr_commands=lambda cli: cli.add_command(click.Command("train"))))
    (plugin,) = json.loads(hmr(registry, "plugins", "--json").stdout)
    assert (plugin["ok"], plugin["status"]) == (False, "clashing")
    assert plugin["reason"] == 'its command "train" is left out: hmr has a command of this name'


def test_a_rich_table_on_a_terminal_prints_brackets_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    table.show_table(["key", "description"], [["augment.scale", "how [red]much[/red] of it there is"]])
    lines = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert [line.strip() for line in lines[1:]] == ["augment.scale  how", "[red]much[/red]", "of it there is"]


MODELS = """
from pathlib import Path
from hmr_core.plugins import ModelSpec, hookimpl

@hookimpl
def hmr_models():
    return [ModelSpec(name="same", summary="", config=object, recipes={}, root_joint=0, build=None)]
"""

BROKEN = {
    "importerror": ("import no_such_module", "cannot be imported: ModuleNotFoundError: No module named 'no_such_mo"),
    "misspelt": (MODELS.replace("hmr_models", "hmr_model"), 'there is no hook "hmr_model". Did you mean "hmr_models"?'),
    "empty": ("", "implements no hook: mark at least one function with @hookimpl."),
    "clash1": (MODELS, 'model "same" is offered by plugin "clash2" (hmr-clash2 1.0) too'),
    "clash2": (MODELS, 'model "same" is offered by plugin "clash1" (hmr-clash1 1.0) too'),
}


def test_the_four_kinds_of_broken_plugin_installed_for_real(tmp_path: Path, fakes: Any) -> None:
    for name, (code, _) in BROKEN.items():
        fakes.install(tmp_path, name, code)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(tmp_path), "HMR_PLUGINS": ",".join(BROKEN)}
        command = [sys.executable, "-m", "hmr_core", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)

    text, as_json, using = run("plugins"), run("plugins", "--json"), run("models", "same")
    assert (text.returncode, text.stderr, as_json.returncode) == (0, "", 0)
    plugins = {plugin["name"]: plugin for plugin in json.loads(as_json.stdout)}
    assert plugins["core"]["ok"]
    for name, (_, reason) in BROKEN.items():
        assert plugins[name]["reason"].startswith(reason)
        assert not plugins[name]["ok"]
        assert any(line.startswith(name) and reason in line for line in text.stdout.splitlines())
    assert using.returncode == 2
    assert using.stderr.startswith('error: model "same" is offered by plugin "clash1" (hmr-clash1 1.0) and by plugin')


def test_a_model_says_whether_it_needs_a_hand_and_has_released_files(fakes: Any, registry: Any, tmp_path: Path) -> None:
    recipes = {"tiny": tmp_path / "tiny.toml"}
    spec = fakes.model("handy", config=Config, recipes=recipes, needs_hand=True, released=Released(file="Handy.pth"))
    handy = fakes.registry(fakes.plugin("handy", hmr_models=lambda: [spec]))
    shown = hmr(handy, "models", "handy").stdout.splitlines()
    assert {"released:   Handy.pth", "hand model: needed (--hand-model)"} <= set(shown)
    as_json = json.loads(hmr(handy, "models", "handy", "--json").stdout)
    assert (as_json["released"], as_json["needs_hand"]) == ("Handy.pth", True)
    neither = hmr(registry, "models", "toy").stdout
    assert "released:" not in neither
    assert "hand model:" not in neither
    assert not json.loads(hmr(registry, "models", "toy", "--json").stdout)["needs_hand"]
