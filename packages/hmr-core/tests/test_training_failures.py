"""What goes wrong while a run trains: what is said, what is kept."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.nn.model import PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import Event, RunEnded, RunStarted, StepDone
from hmr_core.training import loop as train_module
from hmr_core.training.watchers import StopRun
from hmr_core.weights.checkpoint_folders import saved_checkpoints

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (HmrError("a text that is printed anyway"), "stopped by an error"),
        (MemoryError(), "stopped by an error (MemoryError)"),
    ],
)
def test_a_run_that_fails_says_how_it_ended(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("hmr_core.training.loop.save", fail)
    with pytest.raises(type(error)):
        trainer(tmp_path / "run")
    assert isinstance(trainer.events[-1], RunEnded)
    assert (trainer.events[-1].reason, trainer.events[-1].epoch) == (reason, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pack_that_another_is_written_into_stops_the_run(
    small_spec: ModelSpec,
    make_trainer: Any,
    mini_pack_path: Path,
    synthetic_pack_path: Path,
    tmp_path: Path,
    workers: int,
) -> None:
    """As `rsync --inplace` does: the run neither learns from the other, nor takes it for its own."""
    copy = Path(shutil.copy(mini_pack_path, tmp_path / "pack.h5"))

    def overwriting(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 8:  # the first of the second epoch
            copy.write_bytes(synthetic_pack_path.read_bytes())

    trainer = make_trainer(small_spec, Pack(copy))
    trainer.on_event = overwriting
    with pytest.raises(HmrError, match=rf"^{copy} was altered while it was in use"):
        trainer(tmp_path / "run", workers=workers)
    kept = [path.name for path in saved_checkpoints(tmp_path / "run/checkpoints")]
    # What was learnt from the right pack is not lost; a worker may have read one batch ahead.
    ahead = ["epoch-0001-step-00000009"] if workers else []
    assert kept[:1] == ["epoch-0001"]
    assert kept[1:] in ([name] for name in ["epoch-0001-step-00000008", *ahead])
    assert trainer.events[-1].epoch == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            MemoryError("1 GiB"),
            'memory ran out on cpu: the model "small" at step 3 (epoch 1), with a batch of 8: 1 GiB. '
            "Use a smaller batch_size, or a smaller model or image_size (set).",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory: 1.\nmore"),
            'memory ran out on cpu: the model "small" at step 3 (epoch 1), with a batch of 8: [enforce fail at '
            "alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory: 1. Use a smaller",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), 'memory ran out on cpu: the model "small" at step 3'),
        (
            RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x48 and 12x63)"),
            'the model "small" failed at step 3 (epoch 1): RuntimeError: mat1 and mat2 shapes cannot be multiplied '
            "(8x48 and 12x63) (set HMR_DEBUG=1 for the traceback). `hmr plugins` says which package it is from.",
        ),
        (KeyError(), 'the model "small" failed at step 3 (epoch 1): KeyError: KeyError (set'),
    ],
)
def test_what_a_model_raises_is_told_with_the_model_and_the_step(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path, error: Exception, text: str
) -> None:
    def build(config: Any) -> PoseModel:
        model, steps = small_spec.build(config), iter(range(1, 1000))

        def fail(*_: object) -> None:
            if next(steps) == 3:
                raise error

        model.body.register_forward_pre_hook(fail)
        return model

    with pytest.raises(HmrError) as caught:
        make_trainer(replace(small_spec, build=build), mini_pack)(tmp_path / "run")
    assert str(caught.value).startswith(text)
    assert caught.value.__cause__ is error


def test_a_batch_norm_with_one_value_says_what_to_do(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body.append(torch.nn.BatchNorm1d(63))
        return model

    with pytest.raises(HmrError) as caught:
        make_trainer(replace(small_spec, build=build), mini_pack)(tmp_path / "run", "train.batch_size=1")
    assert str(caught.value) == (
        'the batch norm of the model "small" has one value a channel at step 1 (epoch 1), on which it cannot train. '
        "Train with batch_size=2 or more."
    )


def test_what_goes_wrong_in_validation_does_not_cost_the_epoch(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise HmrError("the image of sample X is unreadable")

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "validate", fail)
        with pytest.raises(HmrError, match="the image of sample X"):
            trainer(tmp_path / "run")
    assert [path.name for path in saved_checkpoints(tmp_path / "run/checkpoints")] == ["epoch-0001"]
    trainer(tmp_path / "run")
    assert isinstance(trainer.events[0], RunStarted)
    assert trainer.events[0].first_epoch == 2


def test_a_full_disk_at_a_checkpoint_says_what_is_left(
    trainer: Any, tmp_path: Path, files_up_to: Callable[[int], Any]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trainer(run, stop_after=10)
    with files_up_to(5000), pytest.raises(HmrError) as caught:
        trainer(run)
    assert str(caught.value) == (
        f"{run}/checkpoints/epoch-0002 could not be written: File too large. Make room there, or choose another place. "
        "Nothing of it was left behind. What was learnt since is lost; the run goes on after epoch-0001 by: "
        f"hmr train small --resume {run}"
    )
    assert [path.name for path in saved_checkpoints(run / "checkpoints")] == ["epoch-0001"]
    trainer(run)
    assert [path.name for path in saved_checkpoints(run / "checkpoints")][-1] == "epoch-0003"


def test_a_full_disk_when_a_run_is_asked_to_stop_is_told(
    trainer: Any, tmp_path: Path, files_up_to: Callable[[int], Any]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trainer(run, stop_after=10)
    trainer.on_event = lambda event: os.kill(os.getpid(), signal.SIGTERM) if isinstance(event, StepDone) else None
    with files_up_to(5000), pytest.raises((HmrError, KeyboardInterrupt)) as caught:
        trainer(run)
    assert f"{run}/checkpoints/epoch-0001-step-00000008 could not be written: File too large." in str(caught.value)


def test_a_folder_that_is_gone_hides_no_error(trainer: Any, tmp_path: Path) -> None:
    def gone(event: Event) -> None:
        if isinstance(event, StepDone):
            shutil.rmtree(tmp_path / "run")
            raise StopRun("pruned")

    trainer.on_event = gone
    with pytest.raises(StopRun):
        trainer(tmp_path / "run")


def test_a_disk_that_is_full_when_a_run_begins_leaves_nothing(
    trainer: Any, tmp_path: Path, files_up_to: Callable[[int], Any]
) -> None:
    with files_up_to(100), pytest.raises(HmrError, match=r"config\.json could not be written: File too large"):
        trainer(tmp_path / "run")
    assert not (tmp_path / "run").exists()
