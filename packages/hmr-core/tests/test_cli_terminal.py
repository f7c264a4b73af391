"""On a terminal every text stands as it is: a path in brackets is no markup of rich's, and ":cat:" no picture."""

from __future__ import annotations

import ast
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hmr_core.cli.console import display
from hmr_core.cli.doctor import _show
from hmr_core.cli.progress import progress
from hmr_core.cli.table import show_table
from hmr_core.cli.terminal import show_any_path
from hmr_core.doctor.finding import Finding
from hmr_core.plugins.events import RunEnded, RunStarted
from hmr_core.plugins.run import Run, RunData

SOURCES = Path(__file__).parents[3] / "packages"
NAME = "set [red]/[/red] :cat: [link=x].h5"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """What stdout and stderr show from here on, which are one terminal."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return terminal


def plain(shown: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())


def test_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = a_terminal(monkeypatch)
    with progress(f"packing {NAME}", 3, "images") as advance:
        advance(3)
    assert f"packing {NAME}" in plain(shown)


def test_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = a_terminal(monkeypatch)
    show_table((f"column {NAME}", "b"), [(f"first {NAME}", f"second {NAME}")])
    assert [f"column {NAME}" in plain(shown), f"first {NAME}  " in plain(shown)] == [True, True]
    assert f"second {NAME}" in plain(shown)


def test_what_the_doctor_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = a_terminal(monkeypatch)
    _show(iter([Finding(section=f"section {NAME}", level="wrong", text=f"text {NAME}", remedy=f"remedy {NAME}")]))
    for text in (f"section {NAME}", f"text {NAME}", f"-> remedy {NAME}"):
        assert text in plain(shown)


def started(note: str) -> RunStarted:
    sizes: dict[str, Any] = {
        "steps_per_epoch": 10,
        "train_samples": 80,
        "val_samples": 9,
        "parameters": 1,
        "arithmetic": "float32",
    }
    return RunStarted(first_epoch=1, first_step=1, epochs=3, device="cpu", processes=1, notes=(note,), **sizes)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made: dict[str, Any] = {"model": "small", "split": "sp0", "recipe_name": "tiny", "recipe": {}, "versions": {}}
    begun = {"command": "hmr train small", "folder": "/home/me", "host": "desk", "commits": {}}
    return Run(folder=tmp_path, data=(RunData(path=tmp_path / "mini.h5", blake2b=""),), started=begun, **made)


def test_a_run_on_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = a_terminal(monkeypatch)
    long = f"no val metrics: {NAME} " + "and so on " * 30 + "to the end"
    show = display()
    show(run, started(long))
    show(run, RunEnded(epoch=1, seconds=1.0, reason="finished"))
    assert f"note: {long}" in plain(shown)  # on one line, so that what is to be run can be copied


def test_consoles_and_columns_of_text_are_made_in_one_place() -> None:
    makers = ("Console", "TextColumn", "Prompt", "print")
    found = {
        file.name: name.name
        for file in SOURCES.glob("*/src/**/*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rich"
        for name in node.names
        if name.name in makers
    }
    assert set(found) == {"terminal.py"}


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", b"b\xfc \xc3\xbc"), ("ascii", rb"b\udcfc \xfc")])
def test_a_path_that_is_no_utf_8_is_shown(encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    show_any_path()
    print("b\udcfc ü", flush=True)
    assert raw.getvalue().strip() == shown


@pytest.mark.parametrize("stderr", ["2>&-", "2> >(exec true)", "2>/dev/full"])
def test_no_work_is_lost_without_stderr(stderr: str, mini_tree: Path, tmp_path: Path) -> None:
    """Closed, or a pipe that nobody reads any more, or a full disk."""
    given = ("--root", str(mini_tree), "--out", "x.h5", "--codec", "jpeg:50", "--split", "sp0")
    command = shlex.join([sys.executable, "-m", "hmr_core", "pack", "oakink", *given])
    done = subprocess.run(
        ["bash", "-c", f"exec {command} {stderr}"], cwd=tmp_path, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0
    assert b"error" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def test_no_file_gets_the_number_of_a_stream_that_is_closed(tmp_path: Path) -> None:
    program = (
        "import os; from hmr_core.cli.terminal import keep_streams; keep_streams(); "
        f"print(os.open({str(tmp_path)!r}, os.O_RDONLY), file=open({str(tmp_path / 'number')!r}, 'w'))"
    )
    command = shlex.join([sys.executable, "-c", program])
    subprocess.run(["bash", "-c", f"exec {command} <&- >&- 2>&-"], check=True)
    assert int((tmp_path / "number").read_text()) > 2
