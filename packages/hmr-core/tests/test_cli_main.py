"""The root command: its help, what errors look like, exit statuses, and what the help page may not import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from hmr_core.cli import main as main_module
from hmr_core.cli.main import LAZY_COMMANDS, LazyCommand, cli, main
from hmr_core.errors import HmrError, UsageError

HEAVY = ("torch", "numpy", "pydantic", "rich")


def add_command(monkeypatch: pytest.MonkeyPatch, name: str, run: Any) -> None:
    """Put a command into the root's table for the length of a test."""
    monkeypatch.setattr(sys.modules[__name__], "COMMAND", click.Command(name, callback=run), raising=False)
    monkeypatch.setitem(main_module.LAZY_COMMANDS, name, LazyCommand(__name__, "COMMAND", ""))


def raising(error: BaseException) -> Any:
    def run() -> None:
        raise error

    return run


def test_help_groups_the_commands_in_the_order_of_use(fakes: Any) -> None:
    shown = CliRunner().invoke(cli, ["--help"], obj=fakes.registry()).output
    places = [
        shown.index(f"\n{line}") for line in ("Get data:", "Train and evaluate:", "Use a model:", "See what is there:")
    ]
    assert places == sorted(places)
    names = [
        line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line.split()[0] in LAZY_COMMANDS
    ]
    expected = ("synth", "mano", "pack", "train", "runs", "sweep", "eval", "compare", "score", "ckpt", "predict")
    assert names == [
        *expected,
        "doctor",
        "models",
        "datasets",
        "solvers",
        "detectors",
        "predictors",
        "backbones",
        "plugins",
    ]
    assert "From plugins" not in shown


@pytest.mark.parametrize("name", LAZY_COMMANDS)
def test_every_command_of_the_table_exists(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_help_shows_the_commands_of_plugins(fakes: Any) -> None:
    def add(cli: click.Group) -> None:
        @cli.command("wave")
        def wave() -> None:
            """Wave a hand."""
            click.echo("waving")

    registry = fakes.registry(fakes.plugin("tiny", hmr_commands=add))
    assert "From plugins:\n  wave        Wave a hand." in CliRunner().invoke(cli, ["--help"], obj=registry).output
    assert CliRunner().invoke(cli, ["wave"], obj=registry).output == "waving\n"
    assert cli.commands == {}  # nothing stays behind in the group


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hmr {version('hmr-core')}\n"


def test_a_misspelt_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == 'error: unknown command "trian". Did you mean "train"?\nsee: hmr --help\n'


def test_a_misspelt_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--jsn"]) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: No such option:? '?--jsn\b", error)  # click's own text, which changes
    assert error.endswith("see: hmr models --help\n")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (HmrError("the pack is cut off"), 1, "error: the pack is cut off\n"),
        (UsageError("no such split"), 2, "error: no such split\n"),
        (click.UsageError("give one"), 2, "error: give one\nsee: hmr fail --help\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
        (KeyError("k"), 1, "error: KeyError: 'k' (set HMR_DEBUG=1 for the traceback)\n"),
        (RuntimeError("two\nlines"), 1, "error: RuntimeError: two lines (set HMR_DEBUG=1 for the traceback)\n"),
    ],
)
def test_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, text: str
) -> None:
    monkeypatch.delenv("HMR_DEBUG", raising=False)
    add_command(monkeypatch, "fail", raising(error))
    assert main(["fail"]) == status
    captured = capsys.readouterr()
    assert captured.err == text
    assert captured.out == ""


@pytest.mark.parametrize("error", [HmrError("cut off"), KeyError("k")])
def test_hmr_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    monkeypatch.setenv("HMR_DEBUG", "1")
    add_command(monkeypatch, "fail", raising(error))
    assert main(["fail"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_command_that_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    add_command(monkeypatch, "fine", lambda: "a result that is no exit status")
    assert main(["fine"]) == 0


def imported(site: Path, *arguments: str) -> set[str]:
    """The heavy modules that `hmr ARGUMENTS` imports in a process of its own, which sees the packages in `site`."""
    code = (
        "import sys\nfrom hmr_core.cli.main import main\n"
        f"status = main({list(arguments)!r})\n"
        f"print('imported', *[name for name in {HEAVY!r} if name in sys.modules])\nsys.exit(status)"
    )
    environ = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    assert imported(tmp_path, "--help") == set()


def test_what_finds_heavy_imports_can_find_them(tmp_path: Path, fakes: Any) -> None:
    fakes.install(tmp_path, "heavy", "import numpy, pydantic, rich\nfrom hmr_core.plugins import hookimpl\n")
    assert imported(tmp_path, "--help") == {"numpy", "pydantic", "rich"}
