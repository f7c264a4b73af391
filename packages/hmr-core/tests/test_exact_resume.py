"""A run that is stopped at any step, by whatever, goes on to the very same weights and figures."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.errors import HmrError, UsageError
from hmr_core.interrupts import Stopped, stop_requests
from hmr_core.plugins.events import CheckpointSaved, EpochDone, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.training.every import Every, parse_every
from hmr_core.weights.checkpoint_folders import ends_epoch, saved_checkpoints
from hmr_core.weights.checkpoint_record import read_record

pytestmark = pytest.mark.slow

TIMES = ("seconds", "samples_per_second", "data_wait")


def figures(run: Run) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_same(trainer: Any, run: Run, other: Run) -> None:
    """The same weights, optimizer's state and figures, to the bit."""
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, two = (saved_checkpoints(each.checkpoints)[-1] / name for each in (run, other))
        assert one.read_bytes() == two.read_bytes()
    assert figures(run) == figures(other)


@pytest.mark.parametrize("step", [1, 6, 7, 8, 12, 20])
def test_a_run_stopped_by_a_signal_is_saved_at_that_step_and_goes_on(
    trainer: Any, tmp_path: Path, run: Run, step: int
) -> None:
    def stopping(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == step:
            os.kill(os.getpid(), signal.SIGUSR1)

    trainer.on_event = stopping
    with pytest.raises(Stopped) as caught:
        trainer(tmp_path / "run")
    assert caught.value.number == signal.SIGUSR1
    assert trainer.events[-1].reason == "interrupted (stopped by SIGUSR1)"
    (newest,) = saved_checkpoints(tmp_path / "run/checkpoints")[-1:]
    assert read_record(newest / "model.safetensors").step == step
    assert ends_epoch(newest) == (step % 7 == 0)
    trainer.on_event = lambda event: None
    again = trainer(tmp_path / "run")
    assert trainer.events[0].first_step == step + 1
    assert_same(trainer, run, again)


def test_a_run_killed_between_steps_goes_on_after_the_last_that_was_saved(
    trainer: Any, tmp_path: Path, run: Run
) -> None:
    with pytest.raises(KeyboardInterrupt):  # a watcher's own: nothing is saved
        trainer(tmp_path / "run", stop_after=11, checkpoint_every="4")
    assert [path.name for path in saved_checkpoints(tmp_path / "run/checkpoints")] == [
        "epoch-0001",
        "epoch-0001-step-00000008",
    ]
    again = trainer(tmp_path / "run")
    assert_same(trainer, run, again)


def test_a_run_killed_before_an_epochs_figures_were_written_writes_them(
    trainer: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it in validation, or after it."""
    for moment in ("validate", "record_validation", "prune_checkpoints"):

        def killed(*given: Any, **options: Any) -> None:
            raise KeyboardInterrupt

        folder = tmp_path / moment
        with monkeypatch.context() as patch:
            patch.setattr(f"hmr_core.training.loop.{moment}", killed)
            with pytest.raises(KeyboardInterrupt):
                trainer(folder)
        again = trainer(folder)
        assert [event.epoch for event in trainer.events if isinstance(event, EpochDone)] == [1, 2, 3]
        assert_same(trainer, run, again)


def test_a_run_killed_after_its_last_checkpoint_is_not_finished_before_its_figures_are_there(
    trainer: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.on_event = lambda event: interrupt_at(event, 3)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run")
    trainer.on_event = lambda event: None
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    (tmp_path / "run/metrics.jsonl").write_text("".join(f"{line}\n" for line in lines[:-1]))
    again = trainer(tmp_path / "run")
    assert isinstance(trainer.events[0], RunStarted)  # it had to go on
    assert_same(trainer, run, again)


def interrupt_at(event: Any, epoch: int) -> None:
    if isinstance(event, CheckpointSaved) and event.epoch == epoch:
        raise KeyboardInterrupt


def test_what_was_learnt_is_saved_when_samples_cannot_be_read(
    trainer: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmr_core.data.image_dataset import ImageDataset

    batch, read = ImageDataset.batch, []

    def failing(self: ImageDataset, keys: Any) -> Any:
        read.append(keys)
        if len(read) == 5:
            raise HmrError("the disk is gone.")
        return batch(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(ImageDataset, "batch", failing)
        with pytest.raises(HmrError, match=r"^the disk is gone\.$"):
            trainer(tmp_path / "run")
    assert [path.name for path in saved_checkpoints(tmp_path / "run/checkpoints")] == ["epoch-0000-step-00000004"]
    assert isinstance(trainer.events[-1], RunEnded)
    assert_same(trainer, run, trainer(tmp_path / "run"))


def test_how_often_to_save_is_a_number_of_steps_or_a_time() -> None:
    assert parse_every(None) == Every()
    assert parse_every("500") == Every(steps=500)
    assert [parse_every(text).seconds for text in ("90s", "10m", "2h")] == [90, 600, 7200]
    for text in ("0", "-1", "10 m", "10d", "1.5h", "m", ""):
        with pytest.raises(UsageError, match=r"says not how often to save\. checkpoint_every takes a number of steps"):
            parse_every(text)
    assert [Every(steps=4).due(step, 1e9) for step in (3, 4, 8)] == [False, True, True]
    assert [Every(seconds=60.0).due(4, seconds) for seconds in (59.0, 60.0)] == [False, True]
    assert not Every().due(4, 1e9)


def test_a_second_signal_stops_at_once_and_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(KeyboardInterrupt), stop_requests() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_gradients_of_parts_add_up_to_the_batch_s(trainer: Any, tmp_path: Path) -> None:
    losses = []
    for parts in (1, 2, 4):
        trainer(tmp_path / str(parts), "train.epochs=3", f"train.grad_accum={parts}")
        losses.append([event.losses["total"] for event in trainer.events if isinstance(event, StepDone)])
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], rel=1e-6)
    assert not torch.equal(torch.tensor(losses[0]), torch.tensor(losses[1]))  # they were computed apart


def test_a_signal_stops_validation_which_is_done_anew(
    trainer: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmr_core.training import validation

    def stopping(*given: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return predict(*given, **options)

    predict = validation.predict_shared
    with monkeypatch.context() as patch:
        patch.setattr(validation, "predict_shared", stopping)
        with pytest.raises(Stopped):
            trainer(tmp_path / "run")
    assert [path.name for path in saved_checkpoints(tmp_path / "run/checkpoints")] == ["epoch-0001"]
    assert not [event for event in trainer.events if isinstance(event, EpochDone)]
    assert_same(trainer, run, trainer(tmp_path / "run"))
