from __future__ import annotations

import io
import sys

import pytest

from hmr_core.cli.progress import progress


class Clock:
    """A clock that moves by the given seconds before each reading after the first."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("packing", 96, "images", clock=clock) as advance:
        for _ in range(6):
            clock.now += 2.0
            advance(16)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "packing: 48/96 images, 8.0 images/s, 6.0 s left",
        "packing: 96/96 images in 12.0 s (8.0 images/s)",
    ]


def test_lines_of_long_work_count_minutes_and_hours(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("training", 1000, "steps", clock=clock) as advance:
        clock.now += 60.0
        advance(10)
        clock.now += 4000.0
        advance(990)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: 10/1000 steps, 0.2 steps/s, 1:39:00 left",
        "training: 1000/1000 steps in 1:07:40 (0.2 steps/s)",
    ]


def test_work_that_goes_on_counts_its_rate_from_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("packing", 100, "images", done=60, clock=clock) as advance:
        clock.now += 10.0
        advance(20)
        clock.now += 10.0
        advance(20)
    assert capsys.readouterr().err.splitlines() == [
        "packing: 80/100 images, 2.0 images/s, 10.0 s left",
        "packing: 100/100 images in 20.0 s (2.0 images/s)",
    ]


def test_failed_work_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), progress("packing", 2, "images") as advance:
        advance(1 // 0)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock = Clock()
    with progress("packing", 96, "images", clock=clock) as advance:
        clock.now += 2.0
        advance(96)
    shown = terminal.getvalue()
    assert "━" in shown
    assert "96/96" in shown
    assert "48.0 images/s" in shown
