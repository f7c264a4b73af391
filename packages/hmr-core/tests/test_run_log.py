"""The run's own log: whatever else watches it, and however that ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hmr_core.cli.console import display
from hmr_core.errors import HmrError
from hmr_core.plugins.events import EpochDone, Event, RunEnded
from hmr_core.plugins.run import Run
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.request import TrainingRequest
from hmr_core.training.run_log import RunLog
from hmr_core.training.run_text import Lines
from hmr_core.training.session import start


@pytest.fixture
def request_and_registry(fakes: Any, small_spec: Any, mini_pack_path: Path, tmp_path: Path) -> Any:
    """What trains the small model for an epoch, with a plugin that fails at every event."""

    def broken(run: Run, event: Event) -> None:
        raise RuntimeError("the dashboard is gone")

    plugins = [fakes.plugin("small", hmr_models=lambda: [small_spec]), fakes.plugin("broken", hmr_on_event=broken)]
    request = TrainingRequest(
        model="small", split="sp0", recipe="tiny", overrides=("train.epochs=1",), data=asked_packs(mini_pack_path),
        device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    return request, fakes.registry(*plugins)


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stderr", [Gone(), None], ids=["closed", "none"])
def test_neither_a_plugin_nor_a_terminal_that_fails_costs_a_line(
    request_and_registry: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stderr: object
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    run = start(*request_and_registry, [Lines(), display()])
    assert capsys.readouterr().out == ""
    lines = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [("step", 1), ("step", 7), ("epoch", 7)]
    log = run.log.read_text(encoding="utf-8")
    assert "57 samples to train on" in log
    assert "finished after epoch 1" in log


def test_what_watchers_raise_is_told_once_each(request_and_registry: Any) -> None:
    def gone(run: Run, event: Event) -> None:
        raise BrokenPipeError

    def full(run: Run, event: Event) -> None:
        raise OSError("no space left")

    told: list[str] = []
    start(*request_and_registry, [gone, full], told.append)
    assert told == [
        "warning: BrokenPipeError; training goes on",
        "warning: OSError: no space left; training goes on",
        'warning: plugin "broken": hmr_on_event raised RuntimeError: the dashboard is gone; training goes on',
    ]


def test_a_log_that_cannot_grow_is_told_and_training_goes_on(
    request_and_registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    ended: list[Event] = []
    monkeypatch.setattr("hmr_core.training.run_log.append_text", _full)
    start(*request_and_registry, [lambda run, event: ended.append(event)], told.append)
    assert isinstance(ended[-1], RunEnded)
    assert ended[-1].reason == "finished"
    assert told[0] == "warning: train.log could not be written to: the disk is full; training goes on"


def _full(path: Path, text: str) -> None:
    raise HmrError(f"{path.name} could not be written to: the disk is full.")


def test_metrics_have_six_digits(tmp_path: Path) -> None:
    run = Run(
        folder=tmp_path, model="small", split="sp0", recipe_name="tiny", recipe={}, data=(), versions={}, started={}
    )
    log = RunLog()
    log(run, EpochDone(epoch=2, step=20, losses={"total": 0.123456789}, val={"mpjpe_mm": None}, seconds=61.0))
    assert json.loads(run.metrics.read_text()) == {
        "kind": "epoch", "epoch": 2, "step": 20, "losses": {"total": 0.123457}, "val": {"mpjpe_mm": None},
        "seconds": 61.0,
    }  # fmt: skip
