"""What a run says while it trains, event by event, under a clock of the test's own; the tables of figures."""

from __future__ import annotations

import io
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmr_core.cli.console import display
from hmr_core.cli.metrics_table import show_metrics
from hmr_core.plugins.events import CheckpointSaved, EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run, RunData, RunHand
from hmr_core.training import run_log, run_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made: dict[str, Any] = {"model": "small", "split": "sp0", "recipe_name": "tiny", "recipe": {}, "versions": {}}
    where = {"folder": "/home/me", "host": "desk", "commits": {"hmr-core": "0123abc", "folder": None}}
    begun = {"command": "hmr train small --out 'a b'", **where}
    return Run(folder=tmp_path, data=(RunData(path=tmp_path / "mini.h5", blake2b=""),), started=begun, **made)


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of what a run says."""
    now = [1000.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], strftime=lambda form: "2026-01-01 00:00:00")
    monkeypatch.setattr(run_text, "time", clock)
    monkeypatch.setattr(run_log, "time", clock)

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def started(first_epoch: int = 1, notes: tuple[str, ...] = ()) -> RunStarted:
    sizes: dict[str, Any] = {
        "steps_per_epoch": 10,
        "train_samples": 80,
        "val_samples": 9,
        "parameters": 1_234_567,
        "arithmetic": "float32",
    }
    first_step = 10 * (first_epoch - 1) + 1
    return RunStarted(
        first_epoch=first_epoch, first_step=first_step, epochs=3, device="cpu", processes=1, notes=notes, **sizes
    )


def step(number: int) -> StepDone:
    return StepDone(
        epoch=2,
        step=number,
        losses={"total": 0.25},
        learning_rate=1e-3,
        gradient_norm=0.5,
        samples_per_second=12.0,
        data_wait=0.25,
        device_memory_mb=None,
    )


def epoch_done(val: dict[str, float | None]) -> EpochDone:
    return EpochDone(epoch=2, step=20, losses={"uvd": 0.25, "total": 0.5}, val=val, seconds=61.0)


def test_a_run_without_a_terminal_tells_of_its_start_its_pace_its_epochs_and_its_end(
    run: Run, wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show, write = display(), run_log.RunLog()

    def watch(event: Event) -> None:
        show(run, event)
        write(run, event)

    watch(started(first_epoch=2, notes=("the val metrics are of samples seen in training",)))
    for number in (11, 12, 13, 14, 15, 16):  # of 11 to 30; 6 seconds a step
        wait(6.0)
        watch(step(number))
    watch(epoch_done({"mpjpe_mm": 12.3456, "pck_auc_0_50mm": 0.75, "mpvpe_mm": None}))
    watch(CheckpointSaved(epoch=2, step=20, path=Path("checkpoints/epoch-0002")))
    watch(epoch_done({}))
    watch(RunEnded(epoch=3, seconds=3725.4, reason="finished"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "small, sp0, recipe tiny: 80 samples to train on, 9 to validate on, 1.23 M parameters, "
        "3 epochs of 10 steps, on cpu",
        "arithmetic: float32",
        f"data: {run.data[0].path}",
        "note: the val metrics are of samples seen in training",
        "resumed after epoch 1",
        "step 13/30 (epoch 2/3): loss 0.2500, 12 samples/s, 0:01:42 left",
        "step 16/30 (epoch 2/3): loss 0.2500, 12 samples/s, 0:01:24 left",
        "epoch 2/3: loss 0.5000; val mpjpe_mm 12.346, pck_auc_0_50mm 0.750; 61 s",
        "epoch 2/3: loss 0.5000; val none; 61 s",
        "finished after epoch 3, 1:02:05",
        "3 of 3 epochs, 16 of 30 steps; 12 samples/s, 25% of the steps' time waiting for data",
    ]
    log = [line.removeprefix("2026-01-01 00:00:00 ") for line in (run.folder / "train.log").read_text().splitlines()]
    assert log[:2] == ["command: hmr train small --out 'a b'", "in /home/me on desk, hmr-core at commit 0123abc"]
    assert log[2:] == [*err.splitlines()[:8], "checkpoint checkpoints/epoch-0002", *err.splitlines()[8:]]


@pytest.mark.parametrize(
    ("path", "said"), [("/data/hand.npz", "/data/hand.npz"), (None, "the synthetic hand of hmr itself")]
)
def test_the_hand_model_of_a_run_is_told(
    run: Run, capsys: pytest.CaptureFixture[str], path: str | None, said: str
) -> None:
    display()(replace(run, hand_model=RunHand(path=path and Path(path), blake2b=None)), started())
    assert capsys.readouterr().err.splitlines()[2:] == [f"data: {run.data[0].path}", f"hand model: {said}"]


def test_one_epoch_of_one_step_is_said_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    display()(run, replace(started(), epochs=1, steps_per_epoch=1, train_samples=1))
    assert capsys.readouterr().err == (
        "small, sp0, recipe tiny: 1 sample to train on, 9 to validate on, 1.23 M parameters, "
        f"1 epoch of 1 step, on cpu\narithmetic: float32\ndata: {run.data[0].path}\n"
    )


def test_a_run_on_a_terminal_has_a_bar_until_it_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    before = set(threading.enumerate())
    show = display()
    show(run, started())
    drawing = set(threading.enumerate()) - before
    assert len(drawing) == 1  # the bar draws itself
    show(run, step(17))
    show(run, epoch_done({"mpjpe_mm": 12.3456}))
    show(run, RunEnded(epoch=2, seconds=61.0, reason="finished"))
    for thread in drawing:
        thread.join(5)
        assert not thread.is_alive()
    shown = terminal.getvalue()
    for text in ("epoch 2/3  loss 0.2500", "17/30", "12 samples/s", "val mpjpe_mm 12.346"):
        assert text in shown
    assert shown.endswith(
        "finished after epoch 2, 0:01:01\n"
        "2 of 3 epochs, 17 of 30 steps; 12 samples/s, 25% of the steps' time waiting for data\n"
    )


def test_an_interrupted_run_says_how_to_go_on(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    show = display()
    show(run, started())
    show(run, RunEnded(epoch=0, seconds=1.0, reason="interrupted"))  # there is nothing to go on from
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted after epoch 0, 0:00:01"
    (run.checkpoints / "epoch-0001").mkdir(parents=True)  # written, be it before the run's own count of epochs went on
    show(run, RunEnded(epoch=0, seconds=61.0, reason="interrupted"))
    assert capsys.readouterr().err.splitlines() == [
        "interrupted after epoch 0, 0:01:01",
        f"to go on after epoch-0001: hmr train small --resume {run.folder} --device cpu",
    ]


def test_the_end_of_a_run_tells_what_it_came_to(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    show, write = display(), run_log.RunLog()
    events: list[Event] = [started(), replace(step(1), samples_per_second=0.001)]  # which does not count
    for epoch, mpjpe_mm in ((1, 20.0), (2, 10.0), (3, 15.0)):
        # The first step is the slowest by far, and does not wait: the others wait for all of theirs.
        events += [
            replace(step(10 * epoch), samples_per_second=100.0 if epoch > 1 else 5.0, data_wait=float(epoch > 1)),
            replace(epoch_done({"mpjpe_mm": mpjpe_mm, "mpvpe_mm": None, "pa_mpjpe_mm": 7.0}), epoch=epoch),
        ]
    (run.checkpoints / "epoch-0002").mkdir(parents=True)
    events.append(RunEnded(epoch=3, seconds=3725.4, reason="finished"))
    for event in events:
        write(run, event)  # first, as in a training
        show(run, event)
    ends = capsys.readouterr().err.splitlines()[-4:]
    assert ends == [
        "finished after epoch 3, 1:02:05",
        "3 of 3 epochs, 30 of 30 steps; 14 samples/s, 9% of the steps' time waiting for data",
        f"best on val: mpjpe_mm 10.000 after epoch 2, {run.checkpoints / 'epoch-0002'}",
        "last on val: mpjpe_mm 15.000, pa_mpjpe_mm 7.000 after epoch 3",
    ]
    assert [line[20:] for line in run.log.read_text().splitlines()[-4:]] == ends


def test_a_run_of_one_step_has_its_end_and_its_figures(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    show = display()
    for event in (started(), step(1), RunEnded(epoch=3, seconds=1.0, reason="finished")):
        show(run, event)
    assert capsys.readouterr().err.splitlines()[3:5] == [
        "finished after epoch 3, 0:00:01",
        "3 of 3 epochs, 1 of 30 steps",
    ]


@pytest.mark.parametrize(("share", "steps", "told"), [(0.3, 21, False), (0.31, 21, True), (0.31, 20, False)])
def test_a_run_that_waits_for_its_data_is_told_what_helps(
    run: Run, capsys: pytest.CaptureFixture[str], share: float, steps: int, told: bool
) -> None:
    show = display()
    for event in (
        started(),
        *(replace(step(number), data_wait=share) for number in range(1, steps + 1)),
        RunEnded(epoch=3, seconds=1.0, reason="finished"),
    ):
        show(run, event)
    assert ("note: loading is what the steps wait for: give it more workers" in capsys.readouterr().err) == told


def test_figures_stand_beside_the_baseline_s_and_the_published_ones(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"mpjpe_mm": 12.345, "pck_auc_0_50mm": 0.75, "mpvpe_mm": None, "pa_mpjpe_mm": 6.0, "pa_mpvpe_mm": None}
    report: dict[str, Any] = {"model": "small", "split": "sp0", "subset": "test", "samples": 24, "synthetic": True}
    report |= {"metrics": figures, "published": {"mpjpe_mm": 8.14}, "missing": ["no mesh"], "notes": ["seen"]}
    show_metrics({**report, "baseline": {"subset": "train", "metrics": {**figures, "mpjpe_mm": 40.0}}})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["small", "on", "sp0", "test,", "24", "samples,", "synthetic", "data"],
        ["MPJPE", "mm", "PCK-AUC", "MPVPE", "mm", "PA-MPJPE", "mm", "PA-MPVPE", "mm"],
        ["small", "(this)", "12.35", "0.750", "-", "6.00", "-"],
        ["mean", "pose", "of", "train", "40.00", "0.750", "-", "6.00", "-"],
        ["published,", "on", "OakInk-Image", "8.14", "-", "-", "-", "-"],
        ["note:", "no", "mesh"],
        ["note:", "seen"],
    ]
    no_baseline = {"subset": "train", "metrics": None, "reason": "no training samples"}
    show_metrics({**report, "samples": 1, "baseline": no_baseline})
    out = capsys.readouterr().out
    assert out.startswith("small on sp0 test, 1 sample, synthetic data\n")
    assert "mean pose" not in out
    assert out.endswith("note: no baseline: no training samples\n")
